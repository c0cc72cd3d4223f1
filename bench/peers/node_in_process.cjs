// Peer (c): the official Node SDK, and the agent in the process that holds the socket.
// Usage: node node_in_process.cjs MODULES_FOLDER ENDPOINT CLIENT_ID
// The SDK's API base is a constant, so requests to it are turned to ENDPOINT on their way out.
const { createRequire } = require("module");
const http = require("http");
const path = require("path");

const [modules, endpoint, clientId] = process.argv.slice(2);
const load = createRequire(path.join(modules, "package.json"));
const axios = load("axios");
const { DWClient } = load("dingtalk-stream");

axios.defaults.httpAgent = new http.Agent({ keepAlive: true });
axios.interceptors.request.use((request) => ({
  ...request,
  url: request.url.replace("https://api.dingtalk.com", endpoint),
}));

const client = new DWClient({ clientId, clientSecret: "secret" });
client.registerCallbackListener("/v1.0/im/bot/messages/get", async (push) => {
  const message = JSON.parse(push.data);
  const reply = { msgtype: "text", text: { content: `echo: ${message.text.content.trim()}` } };
  const answer = await axios.post(message.sessionWebhook, reply);
  client.socketCallBackResponse(push.headers.messageId, answer.data);
});
client.connect();
