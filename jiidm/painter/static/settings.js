// The settings of generation: seed, start, rounds, steps, guidance; and which photo gives the style.

const NUMBERS = ["start", "rounds", "steps", "guidance"];
const LARGEST_SEED = 2 ** 32 - 1;

export class Settings {
  // `state` is the server's; `changed` is called after each change by a person.
  constructor(state, changed) {
    this.own = state.settings;
    this.inputs = Object.fromEntries([...NUMBERS, "seed", "lock"].map((name) => [name, document.getElementById(name)]));
    this.inputs.start.max = state.lastTimestep;
    this.inputs.rounds.max = this.own.rounds;
    this.inputs.rounds.disabled = this.own.rounds === 1;
    this.inputs.steps.max = Math.max(50, this.own.steps);
    for (const name of [...NUMBERS, "seed"]) {
      this.inputs[name].addEventListener("input", () => this.show());
      this.inputs[name].addEventListener("change", () => {
        this.repair();
        changed();
      });
    }
    this.inputs.lock.addEventListener("change", () => changed(false));
    document.getElementById("dice").addEventListener("click", () => {
      this.newSeed();
      changed();
    });
    document.getElementById("defaults").addEventListener("click", () => {
      this.values = {...this.own, seed: this.values.seed, lock: this.values.lock};
      changed();
    });
  }

  get values() {
    const {seed, lock} = this.inputs;
    const numbers = NUMBERS.map((name) => [name, Number(this.inputs[name].value)]);
    return {...Object.fromEntries(numbers), seed: Number(seed.value), lock: lock.checked};
  }

  set values(values) {
    for (const name of [...NUMBERS, "seed"]) this.inputs[name].value = values[name] ?? this.own[name];
    this.inputs.lock.checked = values.lock === true;
    this.repair();
  }

  newSeed() {
    this.inputs.seed.value = crypto.getRandomValues(new Uint32Array(1))[0];
  }

  // A seed is a whole number; there are no more steps than timesteps.
  repair() {
    const seed = Math.trunc(Number(this.inputs.seed.value));
    this.inputs.seed.value = Number.isFinite(seed) ? Math.min(LARGEST_SEED, Math.max(0, seed)) : 0;
    const most = Number(this.inputs.start.value) + 1;
    if (Number(this.inputs.steps.value) > most) this.inputs.steps.value = most;
    this.show();
  }

  show() {
    for (const name of NUMBERS) document.getElementById(`${name}-value`).textContent = this.inputs[name].value;
  }
}
