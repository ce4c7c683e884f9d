/** A name in InfluxQL (measurement, field, tag), in double quotes, whatever is in it. */
export function influxName(name: string): string {
  return `"${escaped(name).replaceAll('"', '\\"')}"`;
}

/** A text in InfluxQL (the value of a tag), in single quotes, whatever is in it. */
export function influxText(text: string): string {
  return `'${escaped(text).replaceAll("'", "\\'")}'`;
}

/** InfluxQL knows three escapes in quotes: of the quote, of the backslash, and of the line feed, which must not stand there. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
