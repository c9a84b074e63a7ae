// The search of the site: a look through the text of every section, so that any part of a Chinese sentence is found, and a message that was
// pasted as a whole. SECTIONS, of sections.js, are [address, title, title of the page, text]. It runs without a server.
"use strict";

// Words of Latin letters, with what holds names together; of Chinese a run of signs.
const WORDS = /[a-z0-9_]+(?:[./:-][a-z0-9_]+)*|[\u3400-\u9fff]+/g;
const CHINESE = /[\u3400-\u9fff]/;
const SHOWN = 40;
const AROUND = 70;

const lower = SECTIONS.map(([address, title, page, text]) => ({
  address, title, page, text, at: title.toLowerCase(), all: `${title} ${text}`.toLowerCase(), top: page.toLowerCase(),
}));

// What is looked for, with what may stand for it where it is in no section: the pairs of signs of a Chinese run, the parts of a long name.
function terms(query) {
  return (query.toLowerCase().match(WORDS) || []).flatMap((word) => {
    if (lower.some((section) => section.all.includes(word))) return [word];
    if (CHINESE.test(word)) return [...word].slice(1).map((sign, number) => word[number] + sign);
    return word.split(/[./:-]/).filter(Boolean);
  });
}

// How often a word is in a text; of Latin letters one that is a part of a longer name counts less.
function count(text, word) {
  const all = text.split(word).length - 1;
  if (!all || CHINESE.test(word)) return all;
  const alone = (text.match(new RegExp(`(?<![a-z0-9_])${pattern(word)}s?(?![a-z0-9_])`, "g")) || []).length;
  return alone + (all - alone) / 4;
}

function pattern(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function found(query) {
  const words = [...new Set(terms(query))];
  const weights = words.map((word) => Math.log(1 + lower.length / (1 + lower.filter((section) => section.all.includes(word)).length)));
  const whole = query.trim().toLowerCase();
  // A line that was pasted has the name of its check in brackets.
  const check = (whole.match(/(?:fail|warn) \[([a-z_]+)\]/) || [])[1];
  const results = lower.map((section) => {
    let score = 0, seen = 0;
    words.forEach((word, number) => {
      const times = count(section.all, word);
      if (!times) return;
      seen += weights[number];
      // What a page is about has more weight than a part of another.
      const title = Math.min(count(section.at, word), 1) * (section.at === section.top ? 4.5 : 3);
      score += weights[number] * (Math.min(times, 4) / 4 + title + Math.min(count(section.top, word), 1));
    });
    // Sections with all words come before those with many of one.
    score *= (seen / (weights.reduce((sum, each) => sum + each, 0) || 1)) ** 2;
    if (section.at === check) score += 100;
    else if (section.at === whole && whole.includes("_")) score += 6;
    else if (section.at === whole && !section.address.startsWith("collections/")) score += 3;
    else if (whole.length > 2 && section.all.includes(whole)) score += 1;
    // Guides come before the reference, and before what is for developers.
    if (section.address.startsWith("collections/")) score *= 0.6;
    if (/^(servers|npus|developing|contributing)\./.test(section.address)) score *= 0.4;
    return {section, score, words};
  });
  return results.filter((result) => result.score > 0).sort((one, other) => other.score - one.score);
}

// The text around the first word, with all words marked.
function excerpt(section, words) {
  const text = section.text.toLowerCase();
  const places = words.map((word) => text.indexOf(word)).filter((place) => place >= 0);
  const from = Math.max(0, Math.min(...(places.length ? places : [0])) - AROUND);
  const part = section.text.slice(from, from + 3 * AROUND);
  const shown = document.createElement("p");
  const marks = words.map(pattern).join("|");
  (from ? "… " : "").concat(part, from + part.length < section.text.length ? " …" : "").split(new RegExp(`(${marks})`, "i")).forEach((piece, number) => {
    const node = number % 2 ? document.createElement("mark") : document.createElement("span");
    node.textContent = piece;
    shown.append(node);
  });
  return shown;
}

function show(query) {
  const results = query.trim() ? found(query) : [];
  const list = document.getElementById("search-found"), told = document.getElementById("search-count");
  list.replaceChildren();
  told.textContent = !query.trim() ? "" : results.length ? `${results.length} ${told.dataset.found}` : told.dataset.none;
  results.slice(0, SHOWN).forEach(({section, words}) => {
    const item = document.createElement("li"), link = document.createElement("a"), page = document.createElement("small");
    link.href = section.address;
    link.textContent = section.title;
    page.textContent = section.page === section.title ? "" : section.page;
    item.append(link, " ", page, excerpt(section, words));
    list.append(item);
  });
}

if (typeof document !== "undefined") {
  const query = new URLSearchParams(location.search).get("q") || "";
  document.querySelectorAll("input[name=q]").forEach((input) => { input.value = query; });
  document.querySelector(".search-form input").addEventListener("input", (event) => show(event.target.value));
  show(query);
}
