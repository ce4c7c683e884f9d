import { ContractError, decodeLightCommand } from '@muster/contract';

/** How a node speaks while it is connected. */
export interface NodeLink {
  readonly publish: (
    topic: string,
    payload: string,
    options: { readonly qos: 0 | 1; readonly retain: boolean },
  ) => void;
  /** Publishes readings as the device's telemetry, with their time, session and number. */
  readonly report: (readings: Readonly<Record<string, number>>) => void;
}

/** What a virtual device is made of: its sensor or its actuator. */
export interface VirtualNode {
  readonly model: string;
  /** Retained topics outside the device's own subtree. */
  readonly topics: readonly string[];
  /** Topics on which it is told something. */
  readonly commands: readonly string[];
  /** Begins to work over a connection; answers what ends it. */
  readonly start: (link: NodeLink) => () => void;
  readonly onCommand?: (link: NodeLink, text: string) => void;
}

/** A temperature and humidity sensor that reports at an interval. */
export function sensorNode(intervalMs: number): VirtualNode {
  return {
    model: 'virtual DHT22',
    topics: [],
    commands: [],
    start: (link) => {
      const report = (): void => {
        const turn = (Date.now() / 86_400_000) * 2 * Math.PI;
        link.report({
          temp: rounded(21 + 3 * Math.sin(turn) + Math.random() * 0.3),
          hum: rounded(45 + 5 * Math.cos(turn) + Math.random()),
          vbat: rounded(3.9 + Math.random() * 0.02),
        });
      };
      report();
      const timer = setInterval(report, intervalMs);
      return () => clearInterval(timer);
    },
  };
}

/** A motion sensor in a room where somebody walks about now and then. */
export function motionNode(room: string, random: () => number = Math.random): VirtualNode {
  const topic = `home/${room}/motion`;
  return {
    model: 'virtual HC-SR501',
    topics: [topic],
    commands: [],
    start: (link) => {
      let timer: NodeJS.Timeout;
      const say = (isMoving: boolean): void => {
        link.publish(topic, String(isMoving), { qos: 1, retain: true });
        timer = setTimeout(() => say(!isMoving), (isMoving ? 4_000 : 15_000) + random() * (isMoving ? 8_000 : 60_000));
      };
      say(false);
      return () => clearTimeout(timer);
    },
  };
}

/** A dimmable lamp: obeys ON, OFF and a brightness from 0 to 100, and keeps its state retained. */
export function lightNode(room: string): VirtualNode {
  const topic = `home/${room}/light/state`;
  let state = 'OFF';
  const tell = (link: NodeLink): void => link.publish(topic, state, { qos: 1, retain: true });
  return {
    model: 'virtual lamp',
    topics: [topic],
    commands: [`home/${room}/light/command`],
    start: (link) => {
      tell(link);
      return () => undefined;
    },
    onCommand: (link, text) => {
      try {
        const { on, brightness } = decodeLightCommand(text);
        state = on ? (brightness === undefined ? 'ON' : String(brightness)) : 'OFF';
        tell(link);
      } catch (error) {
        // A lamp has nobody to complain to: it stays as it is.
        if (!(error instanceof ContractError)) throw error;
      }
    },
  };
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
