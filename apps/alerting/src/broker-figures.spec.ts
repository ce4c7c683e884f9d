import { describe, expect, it } from 'vitest';
import { BrokerFigures, type Figure, type FigureName } from './broker-figures.ts';

const T0 = 1_800_000_000_000;
const SECOND = 1_000;
const HOUR = 3_600_000;

/** What a broker tells, with a clock that is moved by hand; every connection begins with its uptime. */
class Scene {
  nowMs = T0;
  figures: BrokerFigures;

  constructor(
    public bootedMs: number,
    before: readonly (readonly [FigureName, Figure])[] = [],
  ) {
    this.figures = new BrokerFigures(new Map(before), this.nowMs);
  }

  wait(milliseconds: number): this {
    this.nowMs += milliseconds;
    return this;
  }

  connects(...kept: readonly (readonly [FigureName, number])[]): this {
    this.figures.booted(this.bootedMs, this.nowMs);
    for (const [name, value] of kept) this.figures.take(name, value, true, this.nowMs);
    return this;
  }

  tells(name: FigureName, value: number): this {
    this.figures.take(name, value, false, this.nowMs);
    return this;
  }

  goes(): this {
    this.figures.disconnected();
    return this;
  }

  /** Another process goes on with what is on record. */
  restarts(): this {
    this.goes();
    this.figures = new BrokerFigures(this.figures.figures, this.nowMs);
    return this;
  }

  get dropped(): number | undefined {
    return this.figures.measurements.get('broker-dropped');
  }

  get retained(): number | undefined {
    return this.figures.measurements.get('broker-retained');
  }
}

describe('messages that a broker drops', () => {
  it('count from what was told before, also when our own connection was away for longer than Mosquitto retains it', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-dropped', 7]).goes().wait(HOUR).connects();
    expect(scene.dropped).toBe(0);
    expect(scene.tells('broker-dropped', 207).dropped).toBe(200);
  });

  it('count from what was told before over a restart of ours', () => {
    const scene = new Scene(T0 - HOUR)
      .connects(['broker-dropped', 7])
      .restarts()
      .wait(90 * SECOND)
      .connects();
    expect(scene.tells('broker-dropped', 207).dropped).toBe(200);
  });

  it('count when they were dropped while nobody watched', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-dropped', 7]).restarts().wait(HOUR);
    expect(scene.connects(['broker-dropped', 207]).dropped).toBe(200);
  });

  it('count from nothing after a restart of the broker, whatever there was before', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-dropped', 7]).goes().wait(HOUR);
    scene.bootedMs = scene.nowMs - 30 * 60 * SECOND;
    expect(scene.connects().tells('broker-dropped', 9).dropped).toBe(9);
  });

  it('count from nothing when the counter has fallen and the broker does not say why', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-dropped', 7]);
    expect(scene.tells('broker-dropped', 2).dropped).toBe(2);
  });

  it('count from the start of a broker that is young', () => {
    const scene = new Scene(T0 - 90 * SECOND).connects();
    expect(scene.dropped).toBe(0);
    expect(scene.tells('broker-dropped', 200).dropped).toBe(200);
  });

  it('of an old broker that nobody has watched count as one at least', () => {
    const scene = new Scene(T0 - HOUR).connects();
    expect(scene.tells('broker-dropped', 1_000_000).dropped).toBe(1);
    expect(scene.tells('broker-dropped', 1_000_050).dropped).toBe(51);
  });

  it('before anybody watched are no growth', () => {
    expect(new Scene(T0 - HOUR).connects(['broker-dropped', 1_000_000]).dropped).toBe(0);
  });

  it('stand still while the broker tells nothing, so that an alert can end', () => {
    const scene = new Scene(T0 - HOUR, [['broker-dropped', { value: 200, seenMs: T0 - 60 * SECOND }]]);
    expect(scene.connects().wait(HOUR).dropped).toBe(0);
  });

  it('are not known of a broker that tells nothing about itself', () => {
    const { figures } = new Scene(T0);
    expect([figures.measurements.size, figures.dropped]).toEqual([0, undefined]);
  });

  it('are on record from when the broker was last heard, not from when the loss of the connection was seen', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-dropped', 7]).wait(5 * SECOND);
    scene.bootedMs = scene.nowMs;
    scene
      .wait(10 * SECOND)
      .goes()
      .wait(SECOND);
    expect(scene.connects(['broker-dropped', 8]).dropped).toBe(8);
  });
});

describe('retained messages and connections of a broker', () => {
  it('stand as they were told over a short absence of ours', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-retained', 60]).wait(HOUR);
    scene.figures.booted(scene.bootedMs, scene.nowMs);
    scene.figures.take('broker-dropped', 0, false, scene.nowMs);
    expect(
      scene
        .restarts()
        .wait(50 * SECOND)
        .connects().retained,
    ).toBe(60);
  });

  it('are not known after a long one, until they are told', () => {
    const scene = new Scene(T0 - HOUR).connects(['broker-retained', 60]).goes().wait(HOUR).connects();
    expect(scene.retained).toBeUndefined();
    expect(scene.tells('broker-retained', 61).retained).toBe(61);
  });

  it('are others after a restart of the broker', () => {
    const scene = new Scene(T0 - HOUR)
      .connects(['broker-retained', 60])
      .goes()
      .wait(20 * SECOND);
    scene.bootedMs = scene.nowMs - 5 * SECOND;
    expect(scene.connects().retained).toBeUndefined();
  });
});
