import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PlannerError, planSchema, type Calculator, type Field, type Plan } from './calculator.ts';
import { calculatorListSchema, calculators, listCalculators } from './calculators.ts';

function valueOf({ enum: choices, type, minimum, maximum }: Field): fc.Arbitrary<string | number | undefined> {
  if (choices !== undefined) return fc.constantFrom(...choices);
  if (type === 'string' || minimum === undefined || maximum === undefined) return fc.constant(undefined);
  return type === 'integer'
    ? fc.integer({ min: minimum, max: maximum })
    : fc.double({ min: minimum, max: maximum, noNaN: true });
}

/** Any input of a calculator that keeps to its ranges, some of it left to defaults. */
function inputsOf({ fields }: Calculator): fc.Arbitrary<Readonly<Record<string, string | number | undefined>>> {
  return fc.record(Object.fromEntries(fields.map((field) => [field.name, valueOf(field)])), { requiredKeys: [] });
}

/** The plan, or undefined where inputs that are each in range do not go together. */
function planOf(calculator: Calculator, input: Readonly<Record<string, unknown>>): Plan | undefined {
  try {
    return calculator.answer(input);
  } catch (error) {
    if (error instanceof PlannerError) return undefined;
    throw error;
  }
}

function refusal(calculator: Calculator, input: Readonly<Record<string, unknown>>): PlannerError {
  try {
    calculator.answer(input);
  } catch (error) {
    if (error instanceof PlannerError) return error;
    throw error;
  }
  throw new Error(`${calculator.id} took ${JSON.stringify(input)}`);
}

const UNITS: Readonly<Record<string, string>> = {
  Ms: 'ms',
  Seconds: 's',
  Days: 'd',
  Mah: 'mAh',
  Ma: 'mA',
  Ua: 'µA',
  Percent: '%',
  PercentPerMonth: '%',
  Bytes: 'B',
  Watts: 'W',
};
const UNIT_IN_NAME = new RegExp(`(${Object.keys(UNITS).join('|')})$`);

const numbers = calculators.flatMap((calculator) =>
  calculator.fields
    .filter((field) => field.type !== 'string' && field.enum === undefined)
    .map((field) => [calculator.id, field.name, calculator, field] as const),
);

describe.each(calculators.map((calculator) => [calculator.id, calculator] as const))('%s', (_, calculator) => {
  it('answers when nothing is given: every input has a default', () => {
    const plan = planSchema.parse(calculator.answer({}));
    expect(plan.calculator).toBe(calculator.id);
    expect(Object.values(plan.figures).some(({ course }) => course !== null)).toBe(true);
  });

  it('answers finite numbers, whatever inputs in their ranges are', () => {
    fc.assert(
      fc.property(inputsOf(calculator), (input) => {
        const plan = planOf(calculator, input);
        if (plan === undefined) return;
        // Infinity and NaN are no numbers of the schema.
        planSchema.parse(plan);
        for (const { course, honest, adds } of Object.values(plan.figures)) {
          if (adds.length === 0) continue;
          const sum = adds.reduce((total, { amount }) => total + amount, course ?? 0);
          expect(Math.abs((honest ?? sum) - sum)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(sum)));
        }
      }),
    );
  });

  it('takes numbers that are texts, as a query has them', () => {
    fc.assert(
      fc.property(inputsOf(calculator), (input) => {
        const texts = Object.fromEntries(
          Object.entries(input).map(([name, value]) => [name, value === undefined ? value : String(value)]),
        );
        expect(planOf(calculator, texts)).toEqual(planOf(calculator, input));
      }),
    );
  });

  it('takes itself what it says it used', () => {
    const plan = calculator.answer({});
    expect(calculator.answer(plan.input)).toEqual(plan);
  });

  it('tells of every input what it is, and has its unit in its name', () => {
    for (const { name, description, unit } of calculator.fields) {
      expect(description.length).toBeGreaterThan(5);
      const [, suffix] = UNIT_IN_NAME.exec(name) ?? [];
      expect([name, unit]).toEqual([name, suffix === undefined ? unit : UNITS[suffix]]);
      if (unit !== undefined) expect(name).toMatch(unit === '$' ? /ollars/ : UNIT_IN_NAME);
    }
  });

  it('names the source of everything that it adds', () => {
    for (const { adds } of Object.values(calculator.answer({}).figures))
      for (const { name, source } of adds) expect([name, source.length > 10]).toEqual([name, true]);
  });

  it('refuses an input that it does not have, and says which it has', () => {
    for (const name of ['colour', '__proto__', 'constructor', 'battery_mah']) {
      const { faults, message } = refusal(
        calculator,
        JSON.parse(`{${JSON.stringify(name)}:1}`) as Record<string, unknown>,
      );
      expect(faults).toEqual([{ field: name, message: expect.stringContaining(calculator.fields[0]?.name ?? '') }]);
      expect(message).toContain(`${name}: is no input of ${calculator.id}`);
    }
  });
});

describe('an input', () => {
  it.each(numbers)('%s %s is refused out of its range, with its name and range', (_, name, calculator, field) => {
    const { minimum = 0, maximum = 0, unit } = field;
    const bad: readonly unknown[] = [
      ...[minimum - 1, maximum + 1, maximum * 1e6, -1e308, 1e308, Number.NaN, Number.POSITIVE_INFINITY],
      ...['NaN', 'Infinity', '1e999', '', ' ', '0x10', '1,000', '12 parsecs', 'true', '५', '1'.repeat(400)],
      ...[null, true, {}, [], [minimum], ['1', '2'], () => 1],
    ];
    for (const value of bad) {
      const { faults } = refusal(calculator, { [name]: value });
      expect(faults.map((fault) => fault.field)).toEqual([name]);
      expect(faults[0]?.message).toContain(`${minimum.toLocaleString('en')} to ${maximum.toLocaleString('en')}`);
      if (unit !== undefined) expect(faults[0]?.message).toContain(unit);
      expect(faults[0]?.message.length).toBeLessThan(200);
    }
  });

  it('that is a choice is refused with the choices', () => {
    for (const calculator of calculators)
      for (const { name, enum: choices } of calculator.fields.filter((field) => field.enum !== undefined))
        expect(refusal(calculator, { [name]: 'none of them' }).message).toBe(
          `${name}: expected one of ${choices?.join(', ')}; found "none of them"`,
        );
  });
});

describe('the list of calculators', () => {
  it('has each once, with the JSON schema of what it takes and answers', () => {
    const { items, result } = calculatorListSchema.parse(JSON.parse(JSON.stringify(listCalculators())));
    expect(new Set(items.map(({ id }) => id)).size).toBe(calculators.length);
    expect(items.find(({ id }) => id === 'battery')?.input).toMatchObject({
      additionalProperties: false,
      properties: { batteryMah: { unit: 'mAh', minimum: 1, maximum: 1_000_000, default: 2_000 } },
    });
    expect(result).toMatchObject({ $defs: { PlanFigure: { properties: { course: {}, honest: {}, adds: {} } } } });
  });
});
