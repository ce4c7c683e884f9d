import { z } from 'zod';

/** One thing that an honest figure counts and the course's does not. */
export const additionSchema = z.object({
  name: z.string(),
  amount: z.number().describe('In the unit of the figure; negative where the course counts too much'),
  source: z.string().describe('Where the amount comes from; an assumption says so and names the input that changes it'),
});
/** See {@link additionSchema}. */
export type Addition = Readonly<z.infer<typeof additionSchema>>;

/** One figure of a plan: as the course works it out, and beside it the honest one. */
export const figureSchema = z
  .object({
    title: z.string(),
    unit: z.string(),
    course: z.number().nullable().describe('As the course works it out; null where it gives no such figure'),
    honest: z.number().nullable().describe('With everything that is known; null where it cannot be reached'),
    adds: z.array(additionSchema).readonly().describe('What makes the honest figure another one'),
  })
  .meta({ id: 'PlanFigure' });
/** See {@link figureSchema}. */
export type Figure = Readonly<z.infer<typeof figureSchema>>;

const listSchema = z.object({ title: z.string(), items: z.array(z.string()).readonly() });

/** What every calculator answers. */
export const planSchema = z
  .object({
    calculator: z.string(),
    input: z.record(z.string(), z.union([z.string(), z.number()])).describe('Every input that was used'),
    figures: z.record(z.string(), figureSchema),
    lists: z.array(listSchema).readonly().describe('What is no number: topics, filters'),
    notes: z.array(z.string()).readonly().describe('What to watch, in sentences'),
  })
  .meta({ id: 'Plan' });

/** The answer of a calculator; `Name` are the names of its figures, with their units. */
export interface Plan<Name extends string = string> extends Readonly<z.infer<typeof planSchema>> {
  readonly figures: Readonly<Record<Name, Figure>>;
}

const scalarSchema = z.union([z.string(), z.number()]);
const fieldSchema = z
  .object({
    type: z.enum(['number', 'integer', 'string']),
    description: z.string(),
    unit: z.string().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    enum: z.array(scalarSchema).optional(),
    default: scalarSchema.optional(),
  })
  .readonly();

/** One input of a calculator, as its JSON schema tells it: command line, REST and pages are made from it. */
export interface Field extends z.infer<typeof fieldSchema> {
  readonly name: string;
}

/** One input that a calculator does not take. */
export interface Fault {
  readonly field: string;
  readonly message: string;
}

/** The inputs of a calculator are refused; each fault names its field and what is expected there. */
export class PlannerError extends Error {
  override readonly name = 'PlannerError';
  readonly code = 'invalid-input';

  constructor(readonly faults: readonly Fault[]) {
    super(faults.map(({ field, message }) => `${field}: ${message}`).join('; '));
  }
}

/** A question that the planner answers; `Name` are the names of its figures. */
export interface Calculator<Name extends string = string> {
  /** Its command and the last part of its REST path. */
  readonly id: string;
  readonly title: string;
  /** What it answers, as one sentence. */
  readonly question: string;
  readonly inputSchema: z.ZodObject;
  readonly fields: readonly Field[];
  /**
   * The plan for some inputs; what is left out has its default, and numbers may be texts.
   * @throws PlannerError where an input is unknown, of another type, or out of its range
   */
  readonly answer: (values: Readonly<Record<string, unknown>>) => Plan<Name>;
}

/** What the function of a calculator works out. */
export interface Calculation<Name extends string> {
  readonly figures: Readonly<Record<Name, Figure>>;
  readonly lists?: Plan['lists'];
  readonly notes?: Plan['notes'];
}

function metaOf(
  description: string,
  unit: string | undefined,
): { readonly description: string; readonly unit?: string } {
  return unit === undefined || unit === '' ? { description } : { description, unit };
}

/** A number with its range and its unit, empty for a mere number; `about` says what it is. */
export function quantity(unit: string, minimum: number, maximum: number, about: string): z.ZodNumber {
  return z.number().min(minimum).max(maximum).meta(metaOf(about, unit));
}

/** A whole number with its range, and its unit where it has one. */
export function count(minimum: number, maximum: number, about: string, unit?: string): z.ZodInt {
  return z.int().min(minimum).max(maximum).meta(metaOf(about, unit));
}

/** One of a few values. */
export function choice<const Values extends readonly (string | number)[]>(
  values: Values,
  about: string,
): z.ZodLiteral<Values[number]> {
  return z.literal(values).meta({ description: about });
}

/** A figure whose honest value is the course's, where it gives one, and all that is added to it. */
export function summed(
  title: string,
  unit: string,
  course: number | null,
  adds: readonly Addition[],
): Figure & { readonly honest: number } {
  return { title, unit, course, honest: adds.reduce((sum, { amount }) => sum + amount, course ?? 0), adds };
}

/** A figure whose two values are worked out apart. */
export function compared(title: string, unit: string, course: number | null, honest: number | null): Figure {
  return { title, unit, course, honest, adds: [] };
}

/** A number as people read it: whole from 1,000 on, four digits below. */
export function formatted(value: number): string {
  const isWhole = Math.abs(value) >= 1_000;
  return value.toLocaleString('en', isWhole ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });
}

/** What a field takes, as the end of a sentence that begins with "expected". */
export function expectation({ type, unit, minimum, maximum, enum: choices, description }: Field): string {
  if (choices !== undefined) return `one of ${choices.join(', ')}`;
  if (type === 'string' || minimum === undefined || maximum === undefined) return `a text: ${description}`;
  const range = `${formatted(minimum)} to ${formatted(maximum)}${unit === undefined ? '' : ` ${unit}`}`;
  return type === 'integer' ? `a whole number from ${range}` : range;
}

/** What was given, short enough for a message. */
export function found(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  return (text as string | undefined)?.slice(0, 80) ?? 'nothing';
}

/** A calculator from its inputs and its function; `check` adds faults that concern several inputs. */
export function defineCalculator<Shape extends z.ZodRawShape, Name extends string>(definition: {
  readonly id: string;
  readonly title: string;
  readonly question: string;
  readonly inputs: Shape;
  readonly check?: (input: z.output<z.ZodObject<Shape>>) => readonly Fault[];
  readonly calculate: (input: z.output<z.ZodObject<Shape>>) => Calculation<Name>;
}): Calculator<Name> {
  const { id, title, question, check, calculate } = definition;
  const inputSchema = z.strictObject(definition.inputs);
  const fields = fieldsOf(inputSchema);
  return {
    id,
    title,
    question,
    inputSchema,
    fields,
    answer: (values) => {
      const given = fromTexts(fields, values);
      const parsed = inputSchema.safeParse(given);
      if (!parsed.success) throw new PlannerError(faultsOf(parsed.error, id, fields, given));
      const faults = check?.(parsed.data) ?? [];
      if (faults.length > 0) throw new PlannerError(faults);
      const { figures, lists = [], notes = [] } = calculate(parsed.data);
      const input = z.record(z.string(), scalarSchema).parse(parsed.data);
      return { calculator: id, input, figures, lists, notes };
    },
  };
}

function fieldsOf(schema: z.ZodObject): readonly Field[] {
  const { properties } = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(properties ?? {}).map(([name, property]) => ({ name, ...fieldSchema.parse(property) }));
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** Numbers that came as texts, as a query or a command line has them; any other text stays and is refused. */
function fromTexts(fields: readonly Field[], values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => {
        const isNumber = fields.some((field) => field.name === name && field.type !== 'string');
        return [name, isNumber && typeof value === 'string' && NUMBER.test(value) ? Number(value) : value];
      }),
  );
}

function faultsOf(
  error: z.ZodError,
  id: string,
  fields: readonly Field[],
  values: Readonly<Record<string, unknown>>,
): readonly Fault[] {
  const faults = error.issues.flatMap((issue): readonly Fault[] => {
    if (issue.code === 'unrecognized_keys') {
      const known = fields.map(({ name }) => name).join(', ');
      return issue.keys.map((field) => ({
        field: field.slice(0, 80),
        message: `is no input of ${id}; it has ${known}`,
      }));
    }
    const field = fields.find(({ name }) => name === issue.path[0]);
    if (field === undefined) return [{ field: id, message: issue.message }];
    return [{ field: field.name, message: `expected ${expectation(field)}; found ${found(values[field.name])}` }];
  });
  // A number that is neither whole nor in its range has two issues, and both would read the same.
  return faults.filter((fault, index) => faults.findIndex(({ field }) => field === fault.field) === index);
}
