const ANSWER_LIMIT_MS = 10_000;

/**
 * Figures of the metrics of an ingestion process as they stand, each the sum over its labels.
 * @param url the origin at which the process answers
 * @param names without `muster_ingestion_`
 */
export async function ingestionFigures<Name extends string>(
  url: string,
  names: readonly Name[],
): Promise<Readonly<Record<Name, number>>> {
  const answer = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  return figuresIn(await answer.text(), names);
}

/**
 * Figures in what a process answers at /metrics.
 * @throws Error where one is not among them: what was never counted is there as well, as 0
 */
export function figuresIn<Name extends string>(
  metrics: string,
  names: readonly Name[],
): Readonly<Record<Name, number>> {
  const sums = new Map<string, number>();
  for (const line of metrics.split('\n')) {
    const [, name, value] = /^muster_ingestion_(\w+)(?:\{[^}]*\})? (\S+)$/.exec(line) ?? [];
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  const figures = names.map((name) => {
    const sum = sums.get(name);
    if (sum === undefined) throw new Error(`ingestion has no figure ${name}`);
    return [name, sum] as const;
  });
  return Object.fromEntries(figures) as Record<Name, number>;
}
