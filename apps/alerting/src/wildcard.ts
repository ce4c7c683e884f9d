/**
 * Whether a text matches a pattern in which `*` stands for any number of characters. Goes back to the last `*` only, so
 * its cost is at most the product of both lengths: patterns are what people send.
 */
export function matchesWildcard(pattern: string, text: string): boolean {
  let at = 0;
  let inText = 0;
  let starAt = -1;
  let resumeAt = 0;
  while (inText < text.length) {
    if (pattern[at] === '*') {
      starAt = at;
      at += 1;
      resumeAt = inText;
    } else if (at < pattern.length && pattern[at] === text[inText]) {
      at += 1;
      inText += 1;
    } else if (starAt >= 0) {
      at = starAt + 1;
      resumeAt += 1;
      inText = resumeAt;
    } else return false;
  }
  while (pattern[at] === '*') at += 1;
  return at === pattern.length;
}

/** Whether labels have all that matchers ask for; a label that is not there matches nothing. */
export function matchesLabels(
  matchers: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(matchers).every(([name, pattern]) => {
    const value = Object.hasOwn(labels, name) ? labels[name] : undefined;
    return value !== undefined && matchesWildcard(pattern, value);
  });
}
