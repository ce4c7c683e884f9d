import { describe, expect, it } from 'vitest';
import { publishAdviceQuerySchema } from './publish-advice.ts';

describe('what is asked of the advice how to publish', () => {
  it.each<[string, object, object]>([
    ['nothing', {}, { deadband: new Map([['', 0]]), heartbeat: 300_000, metric: [], range: 86_400_000 }],
    ['one dead-band for all metrics', { deadband: '0.5' }, { deadband: new Map([['', 0.5]]) }],
    [
      'dead-bands of some metrics',
      { deadband: ['0.5', 'vbat:0.05', 'env.hum:2'] },
      {
        deadband: new Map([
          ['', 0.5],
          ['vbat', 0.05],
          ['env.hum', 2],
        ]),
      },
    ],
    ['times with their units', { heartbeat: '1.5h', range: '31d' }, { heartbeat: 5_400_000, range: 31 * 86_400_000 }],
    ['one metric, or several', { metric: 'temp' }, { metric: ['temp'] }],
    ['a price', { price: '0.7' }, { price: 0.7 }],
  ])('may be %s', (_, given, expected) => {
    expect(publishAdviceQuerySchema.parse(given)).toMatchObject(expected);
  });

  it.each<[string, object, string, RegExp]>([
    ['an empty dead-band, which is not 0', { deadband: '' }, 'deadband', /expected a change in the unit/],
    ['a negative one', { deadband: '-1' }, 'deadband', /expected a change/],
    ['one in hexadecimal', { deadband: '0x10' }, 'deadband', /expected a change/],
    ['two for the same', { deadband: ['1', '2'] }, 'deadband', /one dead-band for each metric/],
    ['one of what is no metric', { deadband: 'seq:1' }, 'deadband', /name of a metric before the colon; found seq/],
    ['a heartbeat without a unit', { heartbeat: '300' }, 'heartbeat', /such as 300s, 5m or 1h/],
    ['a heartbeat of nothing', { heartbeat: '0s' }, 'heartbeat', /from 1ms to 7d/],
    ['two heartbeats', { heartbeat: ['1s', '2s'] }, 'heartbeat', /string/],
    ['a range beyond the limit', { range: '32d' }, 'range', /at most|to 31d/],
    ['a metric that would leave its quotes', { metric: `temp" FROM x; DROP` }, 'metric', /name of a metric/],
    ['more metrics than a device has', { metric: Array.from({ length: 65 }, (_, n) => `m${n}`) }, 'metric', /64/],
    ['a price that is none', { price: 'free' }, 'price', /expected dollars/],
    ['a price beyond the limit', { price: '1000.5' }, 'price', /at most 1000/],
    ['a word that is none', { dead_band: '1' }, '', /dead_band/],
  ])('is not %s', (_, given, field, message) => {
    const { error } = publishAdviceQuerySchema.safeParse(given);
    expect(error?.issues[0]).toMatchObject({ message: expect.stringMatching(message) });
    expect(String(error?.issues[0]?.path[0] ?? '')).toBe(field);
  });
});
