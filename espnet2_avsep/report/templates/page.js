// Makes the titles of tables buttons that sort by their column, puts a field that filters
// rows above some tables, makes players where a mixture is opened, and plays the tracks of
// a separation together.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const titles = [...table.tHead.rows[0].cells];
  const words = titles.map((title) => title.textContent);
  // On a narrow screen, where a row is a card, each cell says what it is.
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, column) => { cell.dataset.label = words[column]; });
  }
  if (table.tBodies[0].rows.length < 3) continue;
  table.classList.toggle("long", table.tBodies[0].rows.length > 5);
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => sort(table, titles, column));
  });
}

function sort(table, titles, column) {
  const rows = [...table.tBodies[0].rows];
  const value = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent;
  };
  const filled = rows.filter((row) => value(row) !== "");
  const empty = rows.filter((row) => value(row) === "");
  const numeric = filled.every((row) => !isNaN(value(row)));
  const before = titles[column].getAttribute("aria-sort");
  // Numbers begin with the greatest, words with A.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = before === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  filled.sort((a, b) =>
    sign * (numeric ? value(a) - value(b) : value(a).localeCompare(value(b))));
  titles.forEach((title) => title.removeAttribute("aria-sort"));
  titles[column].setAttribute("aria-sort", order);
  table.tBodies[0].append(...filled, ...empty);
}

for (const table of document.querySelectorAll("table.filterable")) {
  const field = document.createElement("input");
  field.type = "search";
  field.spellcheck = false;
  const label = document.createElement("label");
  label.append("Show rows with ", field);
  const count = document.createElement("output");
  const bar = document.createElement("div");
  bar.className = "filter";
  bar.append(label, count);
  table.parentElement.before(bar);
  field.addEventListener("input", () => filter(table, field.value, count));
  filter(table, "", count);
}

function filter(table, text, count) {
  const plain = (words) => words.toLowerCase().replace(/\s+/g, "");
  const titles = [...table.tHead.rows[0].cells].map((cell) => plain(cell.textContent));
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const found = word.match(/^(.+?)(<|>)(-?\d+\.?\d*)$/);
    const column = found ? titles.indexOf(plain(found[1])) : -1;
    if (column < 0) {
      const wanted = word.toLowerCase();
      return (row) => row.textContent.toLowerCase().includes(wanted);
    }
    return (row) => {
      const cell = row.cells[column];
      const value = parseFloat(cell.dataset.value ?? cell.textContent);
      return found[2] === "<" ? value < found[3] : value > found[3];
    };
  });
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !tests.every((test) => test(row));
  count.textContent =
    `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
}

for (const pair of document.querySelectorAll("details.pair")) {
  pair.addEventListener("toggle", () => {
    if (pair.open) makePlayers(pair);
    else for (const player of pair.querySelectorAll("audio")) player.pause();
  });
}

function makePlayers(pair) {
  for (const link of pair.querySelectorAll("a.sound")) {
    if (link.dataset.player) continue;
    link.dataset.player = "yes";
    const player = document.createElement("audio");
    player.controls = true;
    player.preload = "metadata";
    player.src = link.getAttribute("href");
    player.setAttribute("aria-label", link.getAttribute("aria-label"));
    player.addEventListener("play", () => takeOver(pair, player));
    link.closest("figcaption").before(player);
  }
}

// The player that starts goes on where the one that it stops was.
function takeOver(pair, player) {
  for (const other of document.querySelectorAll("audio")) {
    if (other === player || other.paused) continue;
    other.pause();
    if (pair.contains(other)) player.currentTime = other.currentTime;
  }
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target?.matches("details.pair")) return;
  target.open = true;
  target.querySelector("summary").focus();
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#pair-']");
  if (link && link.hash === location.hash) openTarget();
});
openTarget();

for (const mixer of document.querySelectorAll(".mixer")) startMixer(mixer);

// One position for all tracks: it is the audio's, everything else follows.
function startMixer(mixer) {
  const one = (name, from = mixer) => from.querySelector(name);
  const sections = [...mixer.querySelectorAll(".track")].filter((s) => one("audio", s));
  const audios = sections.map((section) => one("audio", section));
  if (!audios.length) return;
  const seconds = Number(mixer.dataset.seconds);
  const play = one(".play"), slider = one("input"), output = one("output");
  const video = one("video");
  let opening = null, sound = null, playing = false, position = 0;

  const isPressed = (key) => key.getAttribute("aria-pressed") === "true";
  mixer.classList.add("mixing");
  for (const part of mixer.querySelectorAll("[hidden]")) part.hidden = false;
  for (const audio of audios) audio.hidden = true;

  function show() {
    const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
    slider.value = position;
    slider.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${seconds.toFixed(1)} s`);
    output.textContent = `${clock(position)} / ${clock(seconds)}`;
    mixer.style.setProperty("--at", position / seconds);
    play.textContent = playing ? "Pause" : "Play";
    if (!video) return;
    const wanted = position + Number(video.dataset.offset);
    if (Math.abs(video.currentTime - wanted) > (playing ? 0.2 : 0.02)) {
      video.currentTime = wanted;
    }
    if (playing === video.paused) {
      if (playing) video.play().catch(() => {}); else video.pause();
    }
  }

  function step() {
    if (!playing) return;
    position = Math.min(sound.time(), seconds);
    if (position >= seconds) { pause(); position = 0; }
    show();
    requestAnimationFrame(step);
  }

  async function start() {
    playing = true;
    show();
    try {
      opening ??= openSound(audios);
      sound = await opening;
      mix();
      if (playing) await sound.start(position);
      if (playing) step(); else sound.stop();
    } catch (error) {
      pause();
      output.textContent = "The sounds cannot be played.";
      throw error;
    }
  }

  function pause() {
    if (playing && sound) sound.stop();
    playing = false;
    show();
  }

  function seek(to) {
    position = Math.max(0, Math.min(seconds, to));
    if (playing && sound) sound.start(position);
    show();
  }

  // A track is heard if it is solo or, where none is, if it is not muted.
  function mix() {
    const pressed = (section, name) => isPressed(one(name, section));
    const solo = sections.some((section) => pressed(section, ".solo"));
    sections.forEach((section, n) => {
      const heard = solo ? pressed(section, ".solo") : !pressed(section, ".mute");
      section.classList.toggle("silent", !heard);
      sound?.hear(n, heard);
    });
  }

  play.addEventListener("click", () => playing ? pause() : start());
  slider.addEventListener("input", () => seek(Number(slider.value)));
  mixer.addEventListener("click", (event) => {
    const picture = event.target.closest(".spectrogram");
    const key = event.target.closest("button[aria-pressed]");
    if (picture) {
      const box = picture.getBoundingClientRect();
      seek(seconds * (event.clientX - box.left) / box.width);
    }
    if (key) {
      key.setAttribute("aria-pressed", String(!isPressed(key)));
      mix();
    }
    if (event.target === video) play.click();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, input, a, summary, audio")) return;
    event.preventDefault();
    play.click();
  });
  show();
}

// Sounds within the page are decoded and share the clock of Web Audio, to the sample; files
// beside it may be long, and a page from the disk may not read them: the audio elements
// play them, and the first one is the clock.
async function openSound(audios) {
  if (!audios.every((audio) => audio.src.startsWith("data:"))) return streamed(audios);
  const context = new AudioContext();
  try {
    return decoded(context, await Promise.all(audios.map((audio) => {
      const bytes = atob(audio.src.slice(audio.src.indexOf(",") + 1));
      const content = Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
      return context.decodeAudioData(content.buffer);
    })));
  } catch {
    return streamed(audios);
  }
}

function decoded(context, buffers) {
  const gains = buffers.map(() => context.createGain());
  for (const gain of gains) gain.connect(context.destination);
  let sources = [], zero = 0;
  const stop = () => {
    for (const source of sources) source.stop();
    sources = [];
  };
  return {
    stop,
    time: () => Math.max(0, context.currentTime - zero),
    hear: (n, heard) => gains[n].gain.setTargetAtTime(heard ? 1 : 0, context.currentTime, 0.01),
    async start(at) {
      await context.resume();
      stop();
      const now = context.currentTime + 0.02;
      zero = now - at;
      sources = buffers.map((buffer, n) => {
        const source = context.createBufferSource();
        source.buffer = buffer;
        source.connect(gains[n]);
        source.start(now, at);
        return source;
      });
    },
  };
}

function streamed(audios) {
  const [clock, ...others] = audios;
  return {
    stop: () => audios.forEach((audio) => audio.pause()),
    hear: (n, heard) => { audios[n].muted = !heard; },
    time() {
      for (const audio of others) {
        if (Math.abs(audio.currentTime - clock.currentTime) > 0.06) {
          audio.currentTime = clock.currentTime;
        }
      }
      return clock.ended ? Infinity : clock.currentTime;
    },
    start(at) {
      for (const audio of audios) audio.currentTime = at;
      // A pause while an audio is still loading ends its play() with an error: no fault.
      return Promise.all(audios.map((audio) => audio.play().catch((error) => {
        if (error.name !== "AbortError") throw error;
      })));
    },
  };
}
