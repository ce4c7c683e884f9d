import { deviceId, type PublishAdviceAnswer } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { adviceParameters, adviceText } from './publish-advice-command.ts';

const advice: PublishAdviceAnswer = {
  device: deviceId('lab1'),
  from: '2026-11-23T08:00:00.000Z',
  to: '2026-11-23T09:00:00.000Z',
  truncated: null,
  terms: {
    ...{ heartbeatSeconds: 300, messageBytes: 62.5, messageBytesFrom: 'the mean of 4 payloads of the device' },
    ...{ dollarsPerMillionMessages: 1, priceFrom: 'price=' },
  },
  everySample: { messages: 3_601, bytes: 225_062.5, dollars: 0.003601 },
  onChange: { messages: 601, bytes: 37_562.5, dollars: 0.000601 },
  saved: { messages: 3_000, bytes: 187_500, dollars: 0.003 },
  savedPercent: 83.31,
  savedPerMonth: { messages: 2_160_000, bytes: 135_000_000, dollars: 2.16 },
  metrics: [
    { metric: 'temp', unit: '°C', deadBand: 0.5, samples: 3_601, messages: 590, maximumError: 0.5, meanError: 0.1234 },
    { metric: 'door', unit: null, deadBand: 0, samples: 3_601, messages: 12, maximumError: 0, meanError: 0 },
  ],
  explanation: '601 messages would have done in place of 3,601: 83.31 % less.',
};

describe('muster device advice', () => {
  it('shows people what is saved, what each metric costs and errs, and where the terms come from', () => {
    expect(adviceText(advice)).toBe(
      `lab1  601 messages would have done in place of 3,601: 83.31 % less.
from 2026-11-23T08:00:00.000Z to 2026-11-23T09:00:00.000Z

                  MESSAGES   BYTES        DOLLARS
at every sample   3,601      225,063      $0.0036
on change         601        37,563       $0.0006
saved             3,000      187,500      $0.003
saved in 30 days  2,160,000  135,000,000  $2.16

METRIC  DEAD-BAND  SAMPLES  MESSAGES ALONE  LARGEST ERROR  MEAN ERROR
temp    0.5 °C     3,601    590             0.5 °C         0.1234 °C
door    0          3,601    12              0              0

heartbeat 300 s
62.5 bytes a message: the mean of 4 payloads of the device
$1.00 a million messages: price=`,
    );
  });

  it('says what was left out, promises no month of less than an hour, and lets no metric move the cursor', () => {
    const text = adviceText({
      ...advice,
      truncated: 'only the newest',
      savedPerMonth: null,
      metrics: advice.metrics.map((metric) => ({ ...metric, unit: '\u001b[2J' })),
    });
    expect(text).toContain('\n(only the newest)\n');
    expect(text).not.toMatch(/30 days|\u001b/);
  });

  it.each<[Parameters<typeof adviceParameters>[0], string]>([
    [{ json: false, deadband: [], metric: [] }, ''],
    [
      {
        json: false,
        deadband: ['0.5', 'vbat:0.05'],
        metric: ['temp', 'a&b'],
        heartbeat: '5m',
        range: '7d',
        price: '2',
      },
      'deadband=0.5&deadband=vbat%3A0.05&metric=temp&metric=a%26b&heartbeat=5m&range=7d&price=2',
    ],
  ])('asks with what is given: %j', (options, parameters) => {
    expect(adviceParameters(options).toString()).toBe(parameters);
  });
});
