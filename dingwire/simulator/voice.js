// A voice message: recorded here where the browser allows it, or a file, with the words that
// DingTalk would recognise. What is recorded is sent as a WAV file, which anything can read.

import { $, button, element } from "/elements.js";
import { t } from "/language.js";

const RATE = 16000, DEFAULT_MS = 4000;
const canRecord = () => Boolean(window.MediaRecorder && navigator.mediaDevices?.getUserMedia);

// Ask for one; returns { file, duration_ms, words }, with no file for a sample, or null.
export function askForVoice() {
  const dialog = $("voice"), state = { file: null, duration_ms: DEFAULT_MS, recorder: null };
  const title = element("h2", "", t("voice.title"));
  const about = element("p", "about", t(canRecord() ? "voice.about" : "voice.cannot"));
  const shown = element("p", "taken");
  const words = element("textarea"), label = element("label", "field", t("voice.words"));
  const file = element("input"), own = element("label", "field", t("voice.file"));
  title.id = "voice-title";
  shown.setAttribute("role", "status");
  words.id = "voice-words";
  words.rows = 2;
  label.append(words);
  Object.assign(file, { id: "voice-file", type: "file", accept: "audio/*" });
  own.append(file);
  const taken = async (found) => {
    Object.assign(state, { file: found, duration_ms: await durationOf(found) });
    shown.textContent = t("voice.taken", { name: found.name, seconds: (state.duration_ms / 1000).toFixed(1) });
  };
  const record = button("record", t("voice.record"), () => recordOrStop(state, record, shown, taken));
  record.hidden = !canRecord();
  file.addEventListener("change", () => { if (file.files[0]) taken(file.files[0]); });
  const form = element("form"), foot = element("div", "foot");
  const send = element("button", "main", t("composer.send"));
  foot.append(button("small", t("dialog.cancel"), () => dialog.close()), send);
  form.append(title, about, record, own, shown, label, foot);
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await stop(state);
      dialog.close("send");
    });
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "send") state.recorder?.stream.getTracks().forEach((each) => each.stop());
      const { file: found, duration_ms } = state;
      resolve(dialog.returnValue === "send" ? { file: found, duration_ms, words: words.value.trim() } : null);
    }, { once: true });
  });
}

async function recordOrStop(state, record, shown, taken) {
  if (state.recorder) { await stop(state); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [], recorder = state.recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    state.stopped = new Promise((resolve) => {
      recorder.addEventListener("stop", async () => {
        for (const each of stream.getTracks()) each.stop();
        state.recorder = null;
        record.textContent = t("voice.again");
        record.dataset.state = "";
        await taken(await asWave(new Blob(pieces, { type: recorder.mimeType })));
        resolve();
      });
    });
    recorder.start();
    record.textContent = t("voice.stop");
    record.dataset.state = "recording";
    shown.textContent = t("voice.recording");
  } catch {
    shown.textContent = t("voice.refused");
  }
}

async function stop(state) {
  if (!state.recorder) return;
  state.recorder.stop();
  await state.stopped;
}

const decode = async (blob) => new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());

async function durationOf(blob) {
  try { return Math.round((await decode(blob)).duration * 1000); } catch { return DEFAULT_MS; }
}

async function asWave(blob) {
  const samples = (await decode(blob)).getChannelData(0), view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (at, words) => [...words].forEach((sign, index) => view.setUint8(at + index, sign.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + samples.length * 2, true);
  text(8, "WAVEfmt ");
  [16, 1 | (1 << 16), RATE, RATE * 2, 2 | (16 << 16)].forEach((each, index) => view.setUint32(16 + index * 4, each, true));
  text(36, "data");
  view.setUint32(40, samples.length * 2, true);
  samples.forEach((each, index) => view.setInt16(44 + index * 2, Math.max(-1, Math.min(1, each)) * 0x7fff, true));
  return new File([view.buffer], "voice.wav", { type: "audio/wav" });
}
