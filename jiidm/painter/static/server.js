// What the page asks of the server. Every address is below the page's own, which holds the token.

export class Refused extends Error {}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("");
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({error: `${response.status} ${response.statusText}`}));
    throw new Refused(told.error);
  }
  return response;
}

export const getJson = async (path) => (await ask(path)).json();
export const postFile = async (path, file) => (await ask(path, {method: "POST", body: file})).json();
export const postForBlob = async (path, value) => (await ask(path, {method: "POST", body: JSON.stringify(value)})).blob();

// Asks for an image, and calls `tell` with each line of the answer. One at a time: the next one cancels the last.
export class Generation {
  constructor(tell) {
    this.tell = tell;
    this.controller = null;
  }

  get running() {
    return this.controller !== null;
  }

  cancel() {
    this.controller?.abort();
    this.controller = null;
  }

  async start(order) {
    this.cancel();
    const controller = this.controller = new AbortController();
    const tell = (line) => {
      if (this.controller === controller) this.tell(line, order);
    };
    try {
      const response = await ask("generate", {method: "POST", body: JSON.stringify(order), signal: controller.signal});
      await readLines(response.body, tell);
    } catch (error) {
      if (error.name !== "AbortError") tell({state: "failed", error: error.message});
    } finally {
      if (this.controller === controller) {
        this.controller = null;
        this.tell({state: "over"}, order);
      }
    }
  }
}

async function readLines(stream, tell) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) tell(JSON.parse(line));
  }
}
