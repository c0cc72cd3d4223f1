"""DingTalk played on this machine; imports none of our models, so that it can disagree.

``make run`` serves it without credentials; tests, ours and a user's, start it in-process.
"""

from dingwire.simulator.faults import Faults, FaultsError, ReplyFault
from dingwire.simulator.filestore import File
from dingwire.simulator.refusals import ApiFault
from dingwire.simulator.server import Simulator, WaitedTooLongError
from dingwire.simulator.thread import SimulatorThread

__all__ = [
    "ApiFault",
    "Faults",
    "FaultsError",
    "File",
    "ReplyFault",
    "Simulator",
    "SimulatorThread",
    "WaitedTooLongError",
]
