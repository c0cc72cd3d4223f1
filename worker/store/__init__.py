"""What is remembered: who is answering what, kept answers, missed replies."""
