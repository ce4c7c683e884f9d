import type { InboundMessage } from '@muster/broker';
import type { DeviceId, TopicMap, TopicMatch } from '@muster/contract';
import { isCanaryTopic } from './canary.ts';
import type { Fleet, KnownDevice } from './fleet.ts';

/** Where the messages of a topic belong. */
export interface Route {
  readonly topic: string;
  readonly isCanary: boolean;
  /** What the topic map says of it. */
  readonly match: TopicMatch | undefined;
  /** Found with the first message that may be taken of it. */
  device: KnownDevice | undefined;
}

/**
 * The routes of the topics of one broker, found by the numbers that its connection gives them: a look-up by name for the
 * topic map, and one for the device, would cost more than to decode the message.
 */
export class TopicRoutes {
  readonly #routes: Route[] = [];

  constructor(private readonly topicMap: TopicMap) {}

  /** The route of a message. */
  of({ topic, topicNumber }: Pick<InboundMessage, 'topic' | 'topicNumber'>): Route {
    const known = this.#routes[topicNumber];
    // Another topic may have had the number before.
    if (known?.topic === topic) return known;
    const route = { topic, isCanary: isCanaryTopic(topic), match: this.topicMap.match(topic), device: undefined };
    // Dense: numbers are given one after the other.
    if (topicNumber >= 0 && topicNumber <= this.#routes.length) this.#routes[topicNumber] = route;
    return route;
  }
}

/** The device of a route, where it is known by now. */
export function deviceOf(route: Route, id: DeviceId, fleet: Fleet): KnownDevice | undefined {
  if (route.device === undefined || route.device.isForgotten) route.device = fleet.known(id);
  return route.device;
}
