import { deviceId, TopicMap } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { Fleet } from './fleet.ts';
import { deviceOf, TopicRoutes } from './topic-routes.ts';

const topicMap = TopicMap.from({
  topics: [{ pattern: 'plant/{device}/all', role: 'telemetry', decoder: 'json' }],
});
const valve = deviceId('valve');

describe('the route of a topic', () => {
  it('is what the topic map says, and the same each time', () => {
    const routes = new TopicRoutes(topicMap);
    const message = { topic: 'plant/valve/all', topicNumber: 0 };
    const route = routes.of(message);
    expect(route).toMatchObject({ isCanary: false, match: { device: { valid: true, id: valve } } });
    expect(routes.of(message)).toBe(route);
  });

  it.each([
    ['the number was that of another topic before', 0],
    ['the number leaves others out', 5],
    ['there is no number', -1],
  ])('is right where %s', (_, topicNumber) => {
    const routes = new TopicRoutes(topicMap);
    routes.of({ topic: 'plant/pump/all', topicNumber: 0 });
    for (const topic of ['plant/valve/all', 'elsewhere', 'plant/valve/all'])
      expect(routes.of({ topic, topicNumber })).toMatchObject({ topic });
    expect(routes.of({ topic: 'elsewhere', topicNumber }).match).toBeUndefined();
  });

  it('leads to the device that the fleet has by now: one that was forgotten is met again', () => {
    const fleet = new Fleet();
    const route = new TopicRoutes(topicMap).of({ topic: 'plant/valve/all', topicNumber: 0 });
    expect(deviceOf(route, valve, fleet)).toBeUndefined();
    const first = fleet.meet(valve, 0);
    expect(deviceOf(route, valve, fleet)).toBe(first);
    fleet.forget(valve);
    expect(deviceOf(route, valve, fleet)).toBeUndefined();
    const second = fleet.meet(valve, 0);
    expect([deviceOf(route, valve, fleet), second === first]).toEqual([second, false]);
  });
});
