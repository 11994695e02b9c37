// The connection test below a model's form: post the form, show each step as its piece arrives.
"use strict";

const END_OF_PIECE = "\x1e";
const BROKE_OFF = "The test broke off. Try again.";

class Panel {
  constructor(element) {
    this.element = element;
    this.form = element.closest("form");
    this.start = element.querySelector(".check-start");
    this.rows = element.querySelector(".check-steps");
    element.addEventListener("click", (event) => this.click(event.target.closest("button")));
  }

  click(button) {
    if (button === this.start) this.test();
    else if (button) {
      this.take(button);
      this.say(`${button.dataset.value} is in the form. Test again, or save.`);
    }
  }

  say(text) {
    this.element.querySelector(".check-status").textContent = text;
  }

  test() {
    this.start.disabled = true;
    this.shown = 0;
    this.last = null;
    this.say("Testing …");
    const request = new XMLHttpRequest();
    request.open("POST", this.element.dataset.url);
    request.onprogress = () => request.status === 200 && this.read(request.responseText);
    request.onloadend = () => {
      this.start.disabled = false;
      this.say(request.status === 200 ? this.conclusion() : this.refusal(request.responseText));
      this.last?.scrollIntoView({ block: "nearest" });
    };
    request.send(new FormData(this.form));
  }

  // Show the pieces that are whole and not shown yet.
  read(text) {
    const pieces = text.split(END_OF_PIECE).slice(0, -1);
    if (this.shown === 0 && pieces.length) this.prepare();
    for (const piece of pieces.slice(this.shown)) this.show(piece);
    this.shown = pieces.length;
  }

  prepare() {
    const waiting = this.element.querySelector("template").content.cloneNode(true);
    this.rows.replaceChildren(waiting);
  }

  show(piece) {
    const step = fragment(piece).querySelector("li"); // its texts were escaped by the server
    this.rows.querySelector(`[data-step="${step.dataset.step}"]`).replaceWith(step);
    step.querySelectorAll("[data-take] button").forEach((button) => this.take(button));
    this.last = step;
    if (step.dataset.state !== "failed") this.runNext();
  }

  runNext() {
    const row = this.rows.querySelector(".check-waiting");
    if (!row) return;
    row.classList.replace("check-waiting", "check-running");
    row.querySelector(".check-word").textContent = "running";
    row.querySelector(".material-symbols-outlined").textContent = "progress_activity";
  }

  // Put a value that the test offers into the form.
  take(button) {
    const field = document.getElementById(button.dataset.field);
    field.value = button.dataset.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
    button.setAttribute("aria-pressed", "true");
  }

  conclusion() {
    const open = this.rows.querySelectorAll(".check-waiting, .check-running");
    open.forEach((row) => row.remove());
    if (this.last?.dataset.state === "failed") {
      const fix = this.last.querySelector(".check-fix");
      return `Stopped at ${this.last.dataset.name}. ${fix.textContent}`;
    }
    if (!this.last || open.length) return BROKE_OFF;
    const hasChanged = this.rows.querySelector("[data-take]");
    return `Everything works.${hasChanged ? " The form was corrected: save it." : ""}`;
  }

  refusal(text) {
    const lines = [...fragment(text).querySelectorAll(".check-refusal")];
    return lines.map((line) => line.textContent).join(" ") || BROKE_OFF;
  }
}

function fragment(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
}

document.addEventListener("DOMContentLoaded", () => {
  const element = document.querySelector("#connection-test[data-url]");
  if (element) new Panel(element);
});
