import { isDeviceId, isTopic, MUSTER_NAMESPACE } from '@muster/contract';
import { z } from 'zod';
import {
  choice,
  compared,
  count,
  defineCalculator,
  formatted,
  found,
  quantity,
  summed,
  type Fault,
} from './calculator.ts';

const SECONDS_PER_DAY = 86_400;
/** Mosquitto refuses more (TOPIC_HIERARCHY_LIMIT in its source). */
const MAX_LEVELS = 200;
const MAX_TOPICS = 1_000_000_000_000;
/** The longest id of the contract; one byte each. */
const LONGEST_ID_BYTES = 64;
/** Fixed header and length of the topic of a PUBLISH below 128 bytes (MQTT 5, section 3.3); QoS 0, no properties. */
const HEADER_BYTES = 4;

/** One level below the root: what it stands for, and how many of it there are below one of the level above. */
interface Level {
  readonly name: string;
  readonly count: number;
}

/** What to begin with: a root and its levels. The counts are examples; `course` is the course's Lab 1. */
const DOMAINS = {
  course: { root: 'iotclass', levels: 'device=1,metric=2' },
  home: { root: 'home', levels: 'room=8,device=3,metric=2' },
  factory: { root: 'factory', levels: 'building=2,line=6,machine=10,metric=5' },
  farm: { root: 'farm', levels: 'field=12,station=4,metric=4' },
  city: { root: 'city', levels: 'district=10,street=50,light=20,metric=2' },
} as const;

const LEVEL = /^([A-Za-z0-9_-]{1,64})=(\d{1,8})$/;

/** The levels of `room=8,metric=2`; undefined where it is not written so. */
function readLevels(text: string): readonly Level[] | undefined {
  const levels = text.split(',').map((part): Level | undefined => {
    const [, name, number] = LEVEL.exec(part.trim()) ?? [];
    return name === undefined || Number(number) === 0 ? undefined : { name, count: Number(number) };
  });
  return levels.every((level) => level !== undefined) ? levels : undefined;
}

/** How many there are of each level, from the root down. */
function totals(levels: readonly Level[]): readonly number[] {
  return levels.reduce<readonly number[]>((before, level) => [...before, (before.at(-1) ?? 1) * level.count], []);
}

interface Tree {
  readonly root: string;
  readonly levels: readonly Level[];
}

interface TreeInput {
  readonly domain: keyof typeof DOMAINS;
  readonly root?: string | undefined;
  readonly levels?: string | undefined;
}

function treeFaults({ domain, ...given }: TreeInput): readonly Fault[] {
  const root = given.root ?? DOMAINS[domain].root;
  const text = given.levels ?? DOMAINS[domain].levels;
  if (!isDeviceId(root) || `${root}/` === MUSTER_NAMESPACE) {
    const message = `expected 1 to 64 of the characters A-Z a-z 0-9 _ -, and not ${MUSTER_NAMESPACE.slice(0, -1)}, which is Muster's own; found ${found(root)}`;
    return [{ field: 'root', message }];
  }
  const levels = readLevels(text);
  const refuse = (expected: string): readonly Fault[] => [
    { field: 'levels', message: `expected ${expected}; found ${found(text)}` },
  ];
  if (levels === undefined)
    return refuse(
      'NAME=COUNT,NAME=COUNT from the root down, such as room=8,device=3,metric=2, with counts from 1 to 99,999,999',
    );
  if (new Set(levels.map(({ name }) => name)).size < levels.length) return refuse('each name once');
  if (levels.length + 1 > MAX_LEVELS) return refuse(`at most ${MAX_LEVELS - 1} levels below the root`);
  if ((totals(levels).at(-1) ?? 0) > MAX_TOPICS) return refuse(`at most ${formatted(MAX_TOPICS)} topics`);
  return [];
}

function treeOf({ domain, root = DOMAINS[domain].root, levels = DOMAINS[domain].levels }: TreeInput): Tree {
  return { root, levels: readLevels(levels) ?? [] };
}

function join(root: string, levels: readonly string[]): string {
  return [root, ...levels].join('/');
}

/** Filters that subscribers need, each with what it brings. */
function filtersOf({ root, levels }: Tree): readonly string[] {
  const first = levels.map(({ name }) => `${name}-1`);
  const amounts = totals(levels);
  const all = amounts.at(-1) ?? 0;
  const below = levels.slice(0, -1).map(({ name }, index) => {
    const topics = all / (amounts[index] ?? 1);
    return `${join(root, first.slice(0, index + 1))}/#  everything of one ${name} (${formatted(topics)})`;
  });
  const last = levels.at(-1);
  const same =
    last === undefined || levels.length < 2
      ? []
      : [
          `${join(root, [...levels.slice(1).map(() => '+'), `${last.name}-1`])}  one ${last.name} everywhere (${formatted(all / last.count)})`,
        ];
  return [`${root}/#  everything (${formatted(all)})`, ...below, ...same];
}

/** The course's "MQTT Topic Hierarchy Builder". */
export const topics = defineCalculator({
  id: 'topics',
  title: 'Topic hierarchy',
  question: 'How many topics has a hierarchy, how long are they, and how are they subscribed to?',
  inputs: {
    domain: choice(['course', 'home', 'factory', 'farm', 'city'], 'A hierarchy to begin with').default('course'),
    root: z.string().max(200).meta({ description: 'the first level; of the domain unless given' }).optional(),
    levels: z
      .string()
      .max(20_000)
      .meta({
        description:
          'the levels below, each with how many of it are in one of the level above: room=8,device=3,metric=2; the last is what a device publishes, the one before it the device',
      })
      .optional(),
    topicsPerDevice: count(
      0,
      100,
      "Further topics of each device: the course's Lab 1 has status and command, Muster's contract up to 7",
    ).default(2),
    retainedPerDevice: count(0, 100, 'Of all topics of a device those that are retained').default(1),
    messageIntervalSeconds: quantity('s', 0.1, 2_592_000, 'Time between two messages on a topic').default(60),
    payloadBytes: count(0, 131_072, 'Payload of a message', 'B').default(5),
  },
  check: treeFaults,
  calculate: (input) => {
    const tree = treeOf(input);
    const amounts = totals(tree.levels);
    const published = amounts.at(-1) ?? 0;
    const devices = amounts.at(-2) ?? published;
    const example = join(
      tree.root,
      tree.levels.map(({ name, count: number }) => `${name}-${number}`),
    );
    const longest = tree.root.length + tree.levels.length * (1 + LONGEST_ID_BYTES);
    const messageBytes = HEADER_BYTES + example.length + input.payloadBytes;
    const perDay = (published * SECONDS_PER_DAY) / input.messageIntervalSeconds;
    return {
      figures: {
        topics: summed('Topics', '', published, [
          {
            name: `further topics, ${formatted(input.topicsPerDevice)} for each device`,
            amount: devices * input.topicsPerDevice,
            source: "the course's Lab 1: status and command beside the readings; topicsPerDevice",
          },
        ]),
        devices: compared('Devices', '', null, devices),
        retainedMessages: compared(
          'Retained messages to clear, one by one, when all are taken out of service',
          '',
          null,
          devices * input.retainedPerDevice,
        ),
        topicBytes: compared('Bytes of the longest topic with these names', 'B', null, example.length),
        longestTopicBytes: compared('Bytes if every id has 64 characters', 'B', null, longest),
        topicPercent: compared('Of each message is topic', '%', null, (example.length / messageBytes) * 100),
        topicBytesPerDay: compared('Bytes of topics a day', 'B', null, perDay * example.length),
      },
      lists: [
        {
          title: 'How it grows',
          items: tree.levels.map(({ name }, index) => {
            const pattern = join(
              tree.root,
              tree.levels.slice(0, index + 1).map((level) => `{${level.name}}`),
            );
            return `${pattern}  ${name}: ${formatted(amounts[index] ?? 0)}`;
          }),
        },
        { title: 'Subscribe to', items: filtersOf(tree) },
      ],
      notes: [
        ...(isTopic(example) ? [] : ['Longer than a topic may be.']),
        ...(tree.levels.length === 1
          ? ['With one level there is no level of devices: each topic is a device of its own.']
          : []),
        'A retained message is cleared by its exact topic and no wildcard: keep the topics of a device below its id.',
      ],
    };
  },
});
