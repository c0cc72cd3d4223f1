// The part of Markdown that DingTalk shows. Everything is escaped first, so what a bot sends can
// only ever become the few tags written here. No images but those bots uploaded: the page fetches
// nothing from elsewhere.

const escape = (text) =>
  String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

function inline(escaped) {
  const codes = [];
  return escaped
    .replace(/`([^`]+)`/g, (_, code) => `\u0000${codes.push(code) - 1}\u0000`)
    .replace(/!\[([^\]]*)\]\((@[\w-]+)\)/g, (_, name, id) =>
      `<img class="picture" src="/control/files?media=${encodeURIComponent(id)}" alt="${name}">`)
    .replace(/!?\[([^\]]*)\]\((https?:\/\/[^\s)]+)\)/g, (_, name, url) =>
      `<a href="${url}" target="_blank" rel="noopener noreferrer">${name || url}</a>`)
    .replace(/\*\*([^*]+)\*\*/g, "<strong>$1</strong>")
    .replace(/(^|[^*])\*([^*\s][^*]*)\*/g, "$1<em>$2</em>")
    .replace(/\u0000(\d+)\u0000/g, (_, index) => `<code>${codes[index]}</code>`);
}

const KINDS = [
  ["ul", /^[-*] +(.*)$/], ["ol", /^\d+\. +(.*)$/], ["blockquote", /^&#62; ?(.*)$/],
];

function block(lines) {
  for (const [tag, pattern] of KINDS) {
    const found = lines.map((line) => line.match(pattern)?.[1]);
    if (found.every((each) => each !== undefined)) {
      const made = found.map(inline);
      return `<${tag}>${tag === "blockquote" ? made.join("<br>") : made.map((each) => `<li>${each}</li>`).join("")}</${tag}>`;
    }
  }
  const heading = lines[0].match(/^(#{1,6}) +(.*)$/);
  if (heading) return `<h4${heading[1].length < 3 ? ' class="big"' : ""}>${inline(heading[2])}</h4>`;
  return `<p>${lines.map(inline).join("<br>")}</p>`;
}

const kindOf = (line) =>
  /^#{1,6} /.test(line) ? Symbol("heading") : KINDS.find(([, pattern]) => pattern.test(line))?.[0] ?? "p";

export function markdown(source) {
  const blocks = [];
  let run = [], kind = null, fence = null;
  const end = () => { if (run.length) blocks.push(block(run)); run = []; kind = null; };
  for (const line of escape(source).replaceAll("\u0000", "").split(/\r?\n/).map((each) => each.trimEnd())) {
    if (/^\s*```/.test(line)) {
      if (fence) { blocks.push(`<pre><code>${fence.join("\n")}</code></pre>`); fence = null; } else { end(); fence = []; }
    } else if (fence) fence.push(line);
    else if (!line.trim()) end();
    else {
      const next = kindOf(line.trimStart());
      if (next !== kind) end();
      kind = next;
      run.push(line.trimStart());
    }
  }
  end();
  if (fence) blocks.push(`<pre><code>${fence.join("\n")}</code></pre>`);
  return blocks.join("");
}
