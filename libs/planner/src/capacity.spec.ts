import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { brokerMicroseconds, capacity, fleetSize } from './capacity.ts';

describe('broker capacity', () => {
  it('needs 1,216 connections for 1,000 devices, 5 services and 2 monitors by the course', () => {
    const { figures } = capacity.answer({ devices: 1_000, services: 5, monitors: 2 });
    expect(figures.connections.course).toBe(1_216);
    expect(figures.connections.honest).toBe(1_216 + 8);
  });

  it('rounds a part of a connection up', () => {
    expect(capacity.answer({ devices: 1, services: 0, monitors: 0 }).figures.connections.course).toBe(2);
    expect(capacity.answer({ devices: 5, services: 0, monitors: 0 }).figures.connections.course).toBe(6);
  });

  it('alerts at 80 % of the limit, and says so when more is needed', () => {
    const enough = capacity.answer({ connectionLimit: 1_530, queueMessages: 1_000_000 });
    expect(enough.figures.alertConnections).toMatchObject({ course: 1_224, honest: 1_224 });
    expect(enough.notes.join(' ')).not.toMatch(/LimitNOFILE/);
    expect(capacity.answer({ connectionLimit: 1_529 }).notes.join(' ')).toMatch(/LimitNOFILE/);
  });

  it('takes 10 KB a connection by the course, and honestly what was measured with and without TLS', () => {
    const { course } = capacity.answer({ devices: 1_000 }).figures.memoryMegabytes;
    expect(course).toBeCloseTo((1_216 * 10) / 1_024, 9);
    const honest = (security: string): number =>
      capacity.answer({ devices: 1_000, security, outageSeconds: 0 }).figures.memoryMegabytes.honest ?? 0;
    expect(honest('tls')).toBeGreaterThan(course ?? 0);
    expect(honest('none')).toBeLessThan(honest('tls'));
  });

  it.each([
    [0, 1, 6],
    [1, 1, 12],
    [0, 4, 35],
    [1, 4, 40],
  ])(
    'at QoS %i with %i subscribers a message costs the broker the %i µs that were measured (B4)',
    (qos, subscribers, cost) => {
      expect(brokerMicroseconds(qos === 0 ? 0 : 1, subscribers)).toBeCloseTo(cost, 9);
      const { figures } = capacity.answer({ devices: 10_000, messageIntervalSeconds: 1, qos, subscribers });
      expect(figures.processorPercent.honest).toBeCloseTo(cost, 9);
    },
  );

  it('loses what does not fit into the queue of a service that is away, silently (B1)', () => {
    const { figures, notes } = capacity.answer({
      devices: 1_000,
      messageIntervalSeconds: 0.5,
      outageSeconds: 10,
      qos: 1,
    });
    expect(figures.queuedMessages.honest).toBe(20_000);
    expect(figures.lostMessages.honest).toBe(19_000);
    expect(notes.join(' ')).toMatch(/the publisher has its PUBACK/);
    const large = capacity.answer({ messageIntervalSeconds: 0.5, outageSeconds: 10, qos: 1, queueMessages: 1_000_000 });
    expect(large.figures.lostMessages.honest).toBe(0);
    expect(capacity.answer({ qos: 0 }).figures.queuedMessages.honest).toBe(0);
  });

  it('warns of the wills of a whole fleet, and of a fleet that one core cannot carry', () => {
    expect(capacity.answer({ devices: 1_001 }).notes.join(' ')).toMatch(/wills of all devices/);
    expect(capacity.answer({ devices: 1_000 }).notes.join(' ')).not.toMatch(/wills of all devices/);
    expect(capacity.answer({ devices: 100_000, messageIntervalSeconds: 1 }).notes.join(' ')).toMatch(/more brokers/);
  });

  it('never needs less with more devices', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), fc.integer({ min: 1, max: 1_000 }), (devices, more) => {
        const [less, larger] = [capacity.answer({ devices }), capacity.answer({ devices: devices + more })];
        for (const [name, figure] of Object.entries(larger.figures))
          expect(figure.honest).toBeGreaterThanOrEqual(
            less.figures[name as keyof typeof less.figures].honest ?? Number.POSITIVE_INFINITY,
          );
      }),
    );
  });
});

describe('devices within the limits of a broker', () => {
  it('is the inverse of the capacity: one device more would be over one of the limits', () => {
    const input = fc.record({
      connectionLimit: fc.integer({ min: 100, max: 1_000_000 }),
      messageIntervalSeconds: fc.double({ min: 0.1, max: 600, noNaN: true }),
      qos: fc.constantFrom(0, 1),
      subscribers: fc.integer({ min: 1, max: 10 }),
      security: fc.constantFrom('tls', 'none'),
    });
    const limits = { processorPercent: 50, reconnectSeconds: 30 };
    fc.assert(
      fc.property(input, (load) => {
        // How much of each limit is used; what comes to a limit exactly may be a hair beyond it in floating point.
        const used = (devices: number): number => {
          const { figures } = capacity.answer({ devices, ...load });
          return Math.max(
            (figures.limitPercent.honest ?? 0) / 80,
            (figures.processorPercent.honest ?? 0) / limits.processorPercent,
            (figures.reconnectSeconds.honest ?? 0) / limits.reconnectSeconds,
          );
        };
        const devices = fleetSize.answer({ ...load, ...limits }).figures.devices.honest ?? 0;
        if (devices > 0) expect(used(devices)).toBeLessThanOrEqual(1 + 1e-9);
        expect(used(devices + 1)).toBeGreaterThan(1 - 1e-9);
      }),
    );
  });

  it('is 840 by the course for the 1,024 files of a process, and less honestly', () => {
    const { figures } = fleetSize.answer({ connectionLimit: 1_024, services: 5, monitors: 2 });
    expect(figures.devices.course).toBe(840);
    expect(capacity.answer({ devices: 840 }).figures.connections.course).toBe(1_024);
    expect(figures.devices.honest).toBe(Math.floor((819 - 8 - 16) / 1.2));
  });

  it('is none where services and monitors take all connections', () => {
    expect(fleetSize.answer({ connectionLimit: 16 }).figures.devices).toMatchObject({ course: 0, honest: 0 });
  });
});
