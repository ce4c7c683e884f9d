import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as grafana from '@grafana/grafana-foundation-sdk/dashboard';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import type { Query } from './queries.ts';

/** A panel of a dashboard; it gets its place and its id from the dashboard. */
export type Panel = grafana.Panel;

/** What a field looks like, instead of what the panel says for all fields. */
export interface FieldOverride {
  readonly matcher: { readonly id: 'byName' | 'byRegexp' | 'byType'; readonly options: string };
  readonly properties: readonly grafana.DynamicConfigValue[];
}

/** A value from which on a colour holds; the first has none. */
export type Thresholds = readonly { readonly from: number | null; readonly color: string }[];

/** What every panel says, so that nobody has to guess what is seen, in which unit, and what it means when nothing is. */
export interface PanelOptions {
  readonly title: string;
  readonly description: string;
  /** A unit of Grafana; `none` for counts, `string` for texts. */
  readonly unit: string;
  /** What stands there when a query has no rows. */
  readonly noData: string;
  /** Of 24 columns. */
  readonly width: number;
  readonly height?: number;
  readonly queries: readonly Query[];
  readonly thresholds?: Thresholds;
  readonly mappings?: readonly grafana.ValueMapping[];
  readonly overrides?: readonly FieldOverride[];
  readonly decimals?: number;
  /** Fixes the range of the panel, such as `30d`, whatever the dashboard shows. */
  readonly timeFrom?: string;
}

/** Statistics come every 10 s: shorter steps would be empty. */
const MIN_INTERVAL = '10s';
const DEFAULT_HEIGHT = 8;
const NEUTRAL: Thresholds = [{ from: null, color: 'blue' }];

/** Nothing is good, anything is bad. */
export const ANY_IS_BAD: Thresholds = [
  { from: null, color: 'green' },
  { from: 1, color: 'red' },
];

/** The presence states, worst first, each with its colour on every dashboard. */
export const PRESENCE_COLORS = {
  lost: 'red',
  stale: 'yellow',
  unknown: 'purple',
  offline: '#8e8e8e',
  asleep: 'blue',
  online: 'green',
} as const;

/** See {@link PRESENCE_COLORS}. */
export const PRESENCE_STATES = Object.keys(PRESENCE_COLORS) as readonly (keyof typeof PRESENCE_COLORS)[];

/** Colours the name of a presence state. */
export const presenceMapping: grafana.ValueMapping = {
  type: grafana.MappingType.ValueToText,
  options: Object.fromEntries(
    Object.entries(PRESENCE_COLORS).map(([state, color], index) => [state, { text: state, color, index }]),
  ),
};

/** Says what a reason of a presence state means. */
export const reasonMapping: grafana.ValueMapping = {
  type: grafana.MappingType.ValueToText,
  options: Object.fromEntries(
    [
      ['birth', 'birth: it said that it is online'],
      ['will', 'will: the connection broke'],
      ['shutdown', 'shutdown: it was switched off'],
      ['sleep', 'sleep: it will wake by itself'],
      ['update', 'update: it installs firmware'],
      ['telemetry', 'telemetry: it sends, so it is connected'],
      ['silent', 'silent: connected, and sends nothing'],
      ['overslept', 'overslept: it did not wake in time'],
      ['expired', 'expired: its birth was not renewed'],
      ['broker-lost', 'broker lost: nobody can know'],
      ['broker-restarted', 'broker restarted: it has time to come back'],
      ['broker-back', 'broker back: as it was before'],
      ['not-back', 'not back: its broker was started anew'],
      ['never-heard', 'never heard: only telemetry or info came'],
    ].map(([reason = '', text = ''], index) => [reason, { text, index }]),
  ),
};

/** Each series that is named after a presence state has its colour. */
export const presenceSeries: readonly FieldOverride[] = Object.entries(PRESENCE_COLORS).map(([state, color]) =>
  column(state, { color: { mode: 'fixed', fixedColor: color } }),
);

/** What one column of a table, or one series by its name, looks like: `unit`, `mappings`, `color`, `custom.width`… */
export function column(name: string, properties: Readonly<Record<string, unknown>>): FieldOverride {
  return { matcher: { id: 'byName', options: name }, properties: propertiesOf(properties) };
}

/** The same for every column or series whose name matches a regular expression between slashes. */
export function columns(pattern: string, properties: Readonly<Record<string, unknown>>): FieldOverride {
  return { matcher: { id: 'byRegexp', options: pattern }, properties: propertiesOf(properties) };
}

/** A column of times, shown as how long ago they were. */
export function ago(name: string): FieldOverride {
  return column(name, { unit: 'dateTimeFromNow', 'custom.width': 150 });
}

/** A column of presence states, in their colours. */
export function presenceColumn(name: string): FieldOverride {
  return column(name, {
    mappings: [presenceMapping],
    'custom.cellOptions': { type: 'color-text' },
    'custom.width': 90,
  });
}

/** A column of device ids, each a link to its dashboard and to the console. */
export function deviceColumn(name = 'device'): FieldOverride {
  return column(name, {
    links: [
      { title: 'Device dashboard', url: '/d/muster-device?var-device=${__value.raw}&${__url_time_range}' },
      { title: 'Open in the console', url: '${console}/?device=${__value.raw}', targetBlank: true },
    ],
    'custom.minWidth': 130,
  });
}

function propertiesOf(properties: Readonly<Record<string, unknown>>): readonly grafana.DynamicConfigValue[] {
  return Object.entries(properties).map(([id, value]) => ({ id, value }));
}

/** What the builders of all kinds of panels have in common. */
interface PanelBuilder extends Builder<Panel> {
  title(text: string): this;
  description(text: string): this;
  unit(unit: string): this;
  noValue(text: string): this;
  span(columns: number): this;
  height(rows: number): this;
  interval(shortest: string): this;
  decimals(digits: number): this;
  timeFrom(range: string): this;
  mappings(mappings: grafana.ValueMapping[]): this;
  thresholds(thresholds: Builder<grafana.ThresholdsConfig>): this;
  withTarget(target: Builder<Dataquery>): this;
  withOverride(override: { matcher: grafana.MatcherConfig; properties: grafana.DynamicConfigValue[] }): this;
}

function described<Built extends PanelBuilder>(builder: Built, options: PanelOptions): Built {
  const { thresholds = NEUTRAL, mappings = [], overrides = [] } = options;
  builder
    .title(options.title)
    .description(options.description)
    .unit(options.unit)
    .noValue(options.noData)
    .span(options.width)
    .height(options.height ?? DEFAULT_HEIGHT)
    .interval(MIN_INTERVAL)
    .mappings([...mappings])
    .thresholds(
      new grafana.ThresholdsConfigBuilder()
        .mode(grafana.ThresholdsMode.Absolute)
        .steps(thresholds.map(({ from, color }) => ({ value: from, color }))),
    );
  if (options.decimals !== undefined) builder.decimals(options.decimals);
  if (options.timeFrom !== undefined) builder.timeFrom(options.timeFrom);
  for (const { matcher, properties } of overrides) builder.withOverride({ matcher, properties: [...properties] });
  options.queries.forEach((query, index) => {
    builder.withTarget({ build: () => query.target(String.fromCodePoint('A'.charCodeAt(0) + index)) });
  });
  return builder;
}

function color(mode: grafana.FieldColorModeId): grafana.FieldColorBuilder {
  return new grafana.FieldColorBuilder().mode(mode);
}

/** The newest value of each field, large. */
export function statPanel(
  options: PanelOptions & {
    /** A regular expression between slashes: the fields that are shown; all numbers where it is left out. */
    readonly fields?: string;
    /** A small curve behind the value. */
    readonly curve?: boolean;
    /** Colours the whole panel, not only the value. */
    readonly background?: boolean;
  },
): Panel {
  const reduce = new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false);
  return described(new stat.PanelBuilder(), { height: 4, ...options })
    .reduceOptions(options.fields === undefined ? reduce : reduce.fields(options.fields))
    .graphMode(options.curve === true ? common.BigValueGraphMode.Area : common.BigValueGraphMode.None)
    .colorMode(options.background === true ? common.BigValueColorMode.Background : common.BigValueColorMode.Value)
    .colorScheme(color(grafana.FieldColorModeId.Thresholds))
    .build();
}

/** Values over time. */
export function timePanel(
  options: PanelOptions & {
    readonly style?: 'lines' | 'bars';
    /** On top of each other, so that the height is the sum. */
    readonly stacked?: boolean;
    /** Draws the thresholds as lines. */
    readonly limits?: boolean;
    /** The panel once for each value of a variable. */
    readonly repeat?: string;
  },
): Panel {
  const bars = options.style === 'bars';
  const builder = described(new timeseries.PanelBuilder(), options)
    .colorScheme(color(grafana.FieldColorModeId.PaletteClassicByName))
    .drawStyle(bars ? common.GraphDrawStyle.Bars : common.GraphDrawStyle.Line)
    .fillOpacity(bars || options.stacked === true ? 60 : 10)
    .lineWidth(1)
    .showPoints(common.VisibilityMode.Auto)
    .axisSoftMin(0)
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .calcs(['lastNotNull']),
    )
    .tooltip(
      new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending),
    );
  if (options.stacked === true) builder.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  if (options.limits === true)
    builder.thresholdsStyle(
      new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed),
    );
  if (options.repeat !== undefined) builder.repeat(options.repeat).repeatDirection('h').maxPerRow(2);
  return builder.build();
}

/** Rows and columns; the order of the query stands until somebody clicks on a column. */
export function tablePanel(options: PanelOptions): Panel {
  return described(new table.PanelBuilder(), options)
    .cellHeight(common.TableCellHeight.Sm)
    .filterable(true)
    .colorScheme(color(grafana.FieldColorModeId.Thresholds))
    .build();
}

/** A bar for each row: the text column names it, the number is its length. */
export function barPanel(options: PanelOptions): Panel {
  return described(new bargauge.PanelBuilder(), options)
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .valueMode(common.BarGaugeValueMode.Text)
    .min(0)
    .reduceOptions(new common.ReduceDataOptionsBuilder().values(true).calcs(['lastNotNull']).limit(20))
    .colorScheme(color(grafana.FieldColorModeId.Thresholds))
    .build();
}

/** States as bands over time. */
export function statePanel(options: PanelOptions): Panel {
  return described(new statetimeline.PanelBuilder(), options)
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .rowHeight(0.9)
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(false)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .calcs([]),
    )
    .build();
}
