// An echo bot on the official Node SDK. Usage: node echo.cjs MODULES_FOLDER ENDPOINT
// The SDK's API base is a constant, so requests to it are turned to ENDPOINT on their way out.
const { createRequire } = require("module");
const path = require("path");

const [modules, endpoint] = process.argv.slice(2);
const load = createRequire(path.join(modules, "package.json"));
const axios = load("axios");
const { DWClient } = load("dingtalk-stream");

axios.interceptors.request.use((request) => ({
  ...request,
  url: request.url.replace("https://api.dingtalk.com", endpoint),
}));

const client = new DWClient({ clientId: "node-bot", clientSecret: "secret" });
client.registerCallbackListener("/v1.0/im/bot/messages/get", async (push) => {
  const message = JSON.parse(push.data);
  const reply = { msgtype: "text", text: { content: `node: ${message.text.content.trim()}` } };
  const answer = await axios.post(message.sessionWebhook, reply);
  client.socketCallBackResponse(push.headers.messageId, answer.data);
});
client.connect();
