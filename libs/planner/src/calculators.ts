import { z } from 'zod';
import { battery, publishInterval } from './battery.ts';
import { planSchema, type Calculator } from './calculator.ts';
import { capacity, fleetSize } from './capacity.ts';
import { budget, cost } from './cost.ts';
import { batterySize, deepSleep, heartbeat } from './deep-sleep.ts';
import { detection, keepAlive } from './keep-alive.ts';
import { motionLight, pollInterval } from './motion-light.ts';
import { topics } from './topics.ts';

/** Every calculator: commands, REST resources and pages are made from this list. */
export const calculators: readonly Calculator[] = [
  battery,
  publishInterval,
  deepSleep,
  heartbeat,
  batterySize,
  cost,
  budget,
  capacity,
  fleetSize,
  keepAlive,
  detection,
  topics,
  motionLight,
  pollInterval,
];

const jsonSchema = z
  .record(z.string(), z.unknown())
  .describe('JSON Schema, draft 2020-12; `unit` is the unit of a field');

/** The calculators as the API lists them. */
export const calculatorListSchema = z
  .object({
    items: z.array(z.object({ id: z.string(), title: z.string(), question: z.string(), input: jsonSchema })),
    result: jsonSchema.describe('What each of them answers'),
  })
  .meta({ id: 'CalculatorList' });
/** See {@link calculatorListSchema}. */
export type CalculatorList = z.infer<typeof calculatorListSchema>;

/** The calculators with the JSON schemas of what they take and answer. */
export function listCalculators(): CalculatorList {
  return {
    items: calculators.map(({ id, title, question, inputSchema }) => ({
      id,
      title,
      question,
      input: z.toJSONSchema(inputSchema, { io: 'input' }),
    })),
    result: z.toJSONSchema(planSchema),
  };
}
