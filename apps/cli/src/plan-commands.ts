import {
  calculators,
  expectation,
  formatted,
  listCalculators,
  PlannerError,
  type Calculator,
  type Field,
  type Figure,
  type Plan,
} from '@muster/planner';
import { Option, type Command } from 'commander';
import { plain, table, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

/** Seconds of each unit in which a time can be written; a month is that of the course, 30 days. */
const TIME_SECONDS: Readonly<Record<string, number>> = {
  ms: 0.001,
  s: 1,
  m: 60,
  h: 3_600,
  d: 86_400,
  w: 7 * 86_400,
  mo: 30 * 86_400,
  y: 365 * 86_400,
};
const TIME = /^(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w|mo|y)$/;
/** The units of times among those of fields, with the end of a field's name that tells them. */
const TIME_FIELDS: Readonly<Record<string, RegExp>> = { ms: /Ms$/, s: /Seconds$/, d: /Days$/ };

function isTime({ unit }: Field): boolean {
  return unit !== undefined && unit in TIME_FIELDS;
}

/** The option of a field: `--battery-mah`; a time is written with its unit, so its option goes without: `--life 2y`. */
export function optionName(field: Field): string {
  const suffix = field.unit === undefined ? undefined : TIME_FIELDS[field.unit];
  const name = suffix === undefined ? field.name : field.name.replace(suffix, '');
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function inField(seconds: number, { unit = 's' }: Field): number {
  // Whole numbers stay whole: 0.15 s are 150 ms and not 150.00000000000003.
  return Number((seconds / (TIME_SECONDS[unit] ?? 1)).toPrecision(12));
}

function readable(value: number, unit: string): string {
  const seconds = value * (TIME_SECONDS[unit] ?? 1);
  const larger = (['d', 'h', 'm', 's'] as const).find((name) => seconds >= (TIME_SECONDS[name] ?? 1)) ?? 'ms';
  return `${formatted(seconds / (TIME_SECONDS[larger] ?? 1))}${larger}`;
}

function rangeOf(field: Field): string | undefined {
  const { unit = 's', minimum = 0, maximum = 0 } = field;
  if (isTime(field)) return `${readable(minimum, unit)} to ${readable(maximum, unit)}`;
  return field.type === 'string' && field.enum === undefined ? undefined : expectation(field);
}

function presetOf(field: Field): string | undefined {
  const { default: preset, unit } = field;
  if (typeof preset !== 'number') return preset;
  if (isTime(field)) return readable(preset, unit ?? 's');
  return unit === undefined ? formatted(preset) : `${formatted(preset)} ${unit}`;
}

function helpOf(field: Field): string {
  const preset = presetOf(field);
  const end = [rangeOf(field), preset === undefined ? undefined : `default ${preset}`].filter(
    (part) => part !== undefined,
  );
  return end.length === 0 ? field.description : `${field.description} (${end.join('; ')})`;
}

function optionOf(field: Field): Option {
  const value = isTime(field)
    ? 'time'
    : field.enum !== undefined
      ? 'choice'
      : field.type === 'string'
        ? 'text'
        : 'number';
  return new Option(`${optionName(field)} <${value}>`, helpOf(field));
}

/**
 * The value of a field as it was typed: `2y` becomes days where the field counts days.
 * @throws UsageError for a time without a unit
 */
export function valueOf(field: Field, text: string): string | number {
  if (!isTime(field)) return text;
  const [, amount, unit] = TIME.exec(text) ?? [];
  const seconds = unit === undefined ? undefined : TIME_SECONDS[unit];
  if (amount === undefined || seconds === undefined) {
    const example = readable(Number(field.default ?? field.minimum), field.unit ?? 's');
    throw new UsageError(
      `${optionName(field)}: expected a time from ${rangeOf(field)}, with its unit (ms, s, m, h, d, w, mo, y), such as ${example}; found ${JSON.stringify(text.slice(0, 80))}`,
    );
  }
  return inField(Number(amount) * seconds, field);
}

/** A figure for people: a time with a larger unit where it has many of its own. */
export function figureText(value: number | null, unit: string): string {
  if (value === null) return '-';
  if (unit === '$') {
    const digits =
      Math.abs(value) < 0.1 && value !== 0
        ? { maximumSignificantDigits: 2 }
        : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
    return `${value < 0 ? '-' : ''}$${Math.abs(value).toLocaleString('en', digits)}`;
  }
  const text = unit === '' ? formatted(value) : `${formatted(value)} ${unit}`;
  if (unit === 's' && value >= 120) return `${text} (${figureText(value / 60, 'min')})`;
  return unit === 'd' && value >= 365 ? `${text} (${figureText(value / 365.25, 'years')})` : text;
}

function rowsOf({ title, unit, course, honest, adds }: Figure): readonly (readonly string[])[] {
  const added = adds.map(({ name, amount }) => `${amount < 0 ? '' : '+'}${figureText(amount, unit)}  ${name}`);
  const first = [title, figureText(course, unit), honest === null ? 'none' : figureText(honest, unit), added[0] ?? ''];
  return [first, ...added.slice(1).map((text) => ['', '', '', text])];
}

/** A plan as people read it: each figure as the course has it, the honest one beside, and what that adds. */
export function planText({ title, question }: Calculator, plan: Plan): string {
  const figures = Object.values(plan.figures);
  const sources = new Map<string, Set<string>>();
  for (const { name, source } of figures.flatMap(({ adds }) => adds))
    sources.set(source, (sources.get(source) ?? new Set()).add(name));
  const paragraphs = [
    `${title}. ${question}`,
    table(['', "THE COURSE'S", 'THE HONEST ONE', 'WHAT IT ADDS'], figures.flatMap(rowsOf)),
    ...plan.lists.map((list) => [list.title, ...list.items.map((item) => `  ${plain(item)}`)].join('\n')),
    ...(sources.size === 0
      ? []
      : [['Sources', ...[...sources].map(([source, names]) => `  ${[...names].join(', ')}: ${source}`)].join('\n')]),
    ...(plan.notes.length === 0 ? [] : [plan.notes.join('\n')]),
  ];
  return paragraphs.join('\n\n');
}

function addCalculator(plan: Command, calculator: Calculator): void {
  const command = plan.command(calculator.id).description(calculator.question).allowExcessArguments(false);
  const options = calculator.fields.map((field) => ({ field, option: optionOf(field) }));
  for (const { option } of options) command.addOption(option);
  command.option('--json', 'print JSON on standard output', false).action(() => {
    const given = command.optsWithGlobals<Readonly<Record<string, unknown>>>();
    const values = options.flatMap(({ field, option }) => {
      const text = given[option.attributeName()];
      return typeof text === 'string' ? [[field.name, valueOf(field, text)] as const] : [];
    });
    const answer = answerOf(calculator, Object.fromEntries(values));
    process.stdout.write(`${given['json'] === true ? JSON.stringify(answer) : planText(calculator, answer)}\n`);
  });
}

/** @throws UsageError that names the options which are wrong */
function answerOf(calculator: Calculator, values: Readonly<Record<string, unknown>>): Plan {
  try {
    return calculator.answer(values);
  } catch (error) {
    if (!(error instanceof PlannerError)) throw error;
    const faults = error.faults.map(({ field: name, message }) => {
      const field = calculator.fields.find((candidate) => candidate.name === name);
      return `${field === undefined ? name : optionName(field)}: ${message}`;
    });
    throw new UsageError(faults.join('; '), { cause: error });
  }
}

/** Adds `muster plan …` to the command line: a command for each calculator. It needs no API. */
export function addPlanCommands(muster: Command): void {
  const plan = muster
    .command('plan')
    .description("calculators: the course's figure, the honest one, and what that adds")
    .option('--json', 'print JSON on standard output', false)
    .allowExcessArguments()
    .action((output: OutputOptions, command: Command) => {
      const [unknown] = command.args;
      if (unknown !== undefined) {
        const known = calculators.map(({ id }) => id).join(', ');
        throw new UsageError(`no calculator ${JSON.stringify(unknown.slice(0, 80))}; there are ${known}`);
      }
      const rows = calculators.map(({ id, question }) => [id, question]);
      const list = `${table(['CALCULATOR', 'ANSWERS'], rows)}\n\nmuster plan CALCULATOR --help tells what it takes.`;
      process.stdout.write(`${output.json ? JSON.stringify(listCalculators()) : list}\n`);
    });
  for (const calculator of calculators) addCalculator(plan, calculator);
}
