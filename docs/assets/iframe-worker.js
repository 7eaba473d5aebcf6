// The search of a page that was opened as a file: browsers let it start no Worker, so a hidden frame does the work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const inside = this.inside.document;
      inside.open();
      inside.write("<!doctype html><body></body>");
      inside.close();
      const answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.postMessage = (data) => setTimeout(answer, 0, data);
      const load = (source) => new Promise((resolve) => {
        const script = inside.createElement("script");
        script.src = source;
        script.onload = resolve;
        inside.body.append(script);
      });
      this.inside.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => load(one)), Promise.resolve());
      this.ready = load(url);
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
