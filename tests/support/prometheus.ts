/** A strict reader of Prometheus text (format 0.0.4), so that tests know a scraper can read it. */

/** One value of a scrape. */
export interface ScrapedSample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** What a scrape gave. */
export class Scrape {
  readonly samples: readonly ScrapedSample[];
  /** Type of each metric. */
  readonly types: ReadonlyMap<string, string>;

  /** Reads a text; throws where a scraper would refuse it. */
  constructor(text: string) {
    const samples: ScrapedSample[] = [];
    const types = new Map<string, string>();
    const helps = new Set<string>();
    const seen = new Set<string>();
    if (text !== "" && !text.endsWith("\n")) {
      throw new Error("The last line has no end");
    }
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(
        line,
      );
      if (comment) {
        const [, kind, name, rest] = comment as unknown as string[];
        if (kind === "HELP") {
          if (helps.has(name!)) throw new Error(`Second HELP of ${name}`);
          helps.add(name!);
          continue;
        }
        if (types.has(name!)) throw new Error(`Second TYPE of ${name}`);
        if (samples.some((sample) => sample.name === name)) {
          throw new Error(`TYPE of ${name} after its samples`);
        }
        if (!["counter", "gauge", "histogram"].includes(rest!)) {
          throw new Error(`Unknown type: ${line}`);
        }
        types.set(name!, rest!);
        continue;
      }
      const sample = readSample(line);
      const base = sample.name.replace(/_(bucket|sum|count)$/, "");
      if (!types.has(sample.name) && types.get(base) !== "histogram") {
        throw new Error(`Sample without TYPE: ${line}`);
      }
      const key = line.slice(0, line.lastIndexOf(" "));
      if (seen.has(key)) throw new Error(`Second sample of ${key}`);
      seen.add(key);
      samples.push(sample);
    }
    this.samples = samples;
    this.types = types;
  }

  /** Sum of a metric's values that have all of these labels. */
  sum(name: string, labels: Record<string, string> = {}): number {
    const found = this.samples.filter((sample) =>
      sample.name === name &&
      Object.entries(labels).every(([key, value]) =>
        sample.labels[key] === value
      )
    );
    if (found.length === 0 && !this.types.has(name)) {
      throw new Error(`No metric ${name}`);
    }
    return found.reduce((sum, { value }) => sum + value, 0);
  }
}

/** Scrapes a metrics door once. */
export async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(url);
  const text = await response.text();
  const type = response.headers.get("content-type");
  if (response.status !== 200 || !type?.startsWith("text/plain")) {
    throw new Error(`Cannot scrape ${url}: ${response.status} ${type} ${text}`);
  }
  return new Scrape(text);
}

function readSample(line: string): ScrapedSample {
  const match =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$/
      .exec(line);
  if (!match) throw new Error(`Not a sample: ${line}`);
  const [, name, labelText = "", valueText] = match as unknown as string[];
  const labels: Record<string, string> = {};
  for (
    const [, key, value] of labelText!.matchAll(
      /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g,
    )
  ) {
    if (key! in labels) throw new Error(`Second label ${key}: ${line}`);
    labels[key!] = value!.replace(
      /\\(.)/g,
      (_, escaped) => escaped === "n" ? "\n" : escaped,
    );
  }
  const value = Number(valueText!.replace("Inf", "Infinity"));
  if (Number.isNaN(value) && valueText !== "NaN") {
    throw new Error(`Not a value: ${line}`);
  }
  return { name: name!, labels, value };
}
