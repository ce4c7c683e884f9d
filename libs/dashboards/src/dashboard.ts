import * as grafana from '@grafana/grafana-foundation-sdk/dashboard';
import type { Panel } from './panels.ts';
import { INFLUXDB, POSTGRES, referenceTo, type DataSource, type Query } from './queries.ts';

/** Where the console is unless the chart says otherwise. */
export const CONSOLE_URL = 'http://127.0.0.1:8300';
/** The version of Grafana's dashboard JSON that is written here; a newer Grafana migrates it when it loads it. */
const SCHEMA_VERSION = 39;
const COLUMNS = 24;
const TAG = 'muster';

/** A row with its panels, from left to right, in as many lines as they need. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** What a dashboard shows. */
export interface DashboardOptions {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  /** The range at first, such as `now-6h`. */
  readonly from: string;
  /** Variables beside the data sources and the console's address. */
  readonly variables?: readonly grafana.VariableModel[];
  readonly annotations?: readonly grafana.AnnotationQuery[];
  readonly rows: readonly Row[];
}

/** A row as Grafana has it: its panels follow it. */
interface RowPanel {
  readonly id: number;
  readonly type: 'row';
  readonly title: string;
  readonly collapsed: false;
  readonly gridPos: grafana.GridPos;
  readonly panels: readonly [];
}

/** A dashboard in Grafana's classic JSON, as it is provisioned from a file. It has no `id`: Grafana gives one. */
export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly schemaVersion: number;
  readonly timezone: 'browser';
  readonly time: { readonly from: string; readonly to: string };
  readonly refresh: string;
  readonly editable: boolean;
  readonly graphTooltip: grafana.DashboardCursorSync;
  readonly links: readonly grafana.DashboardLink[];
  readonly templating: { readonly list: readonly grafana.VariableModel[] };
  readonly annotations: { readonly list: readonly grafana.AnnotationQuery[] };
  readonly panels: readonly (Panel | RowPanel)[];
}

/** A dashboard with everything that all of them share: data sources, links to each other and to the console. */
export function dashboard(options: DashboardOptions): Dashboard {
  return {
    uid: options.uid,
    title: options.title,
    description: options.description,
    tags: [TAG],
    schemaVersion: SCHEMA_VERSION,
    timezone: 'browser',
    time: { from: options.from, to: 'now' },
    refresh: '10s',
    editable: false,
    graphTooltip: grafana.DashboardCursorSync.Crosshair,
    links: [
      visible(
        new grafana.DashboardLinkBuilder('Muster')
          .type(grafana.DashboardLinkType.Dashboards)
          .tags([TAG])
          .keepTime(true),
      ),
      visible(
        new grafana.DashboardLinkBuilder('Console')
          .type(grafana.DashboardLinkType.Link)
          .icon('external link')
          .tooltip('The live fleet, and what can be done about it')
          .url('${console}/')
          .targetBlank(true),
      ),
    ],
    templating: {
      list: [...(options.variables ?? []), ...sourcesOf(options).map(sourceVariable), consoleVariable()],
    },
    annotations: { list: options.annotations ?? [] },
    panels: laidOut(options.rows),
  };
}

/** A variable whose values a query gives; where it repeats a panel, `multi` lets several be chosen, all at first. */
export function queryVariable(options: {
  readonly name: string;
  readonly label: string;
  readonly description: string;
  readonly source: DataSource;
  readonly query: Query;
  readonly multi?: boolean;
}): grafana.VariableModel {
  const target = options.query.target(`variable-${options.name}`) as {
    readonly rawSql?: string;
    readonly query?: string;
  };
  const builder = new grafana.QueryVariableBuilder(options.name)
    .label(options.label)
    .description(options.description)
    .datasource(referenceTo(options.source))
    .query(target.rawSql ?? target.query ?? '')
    .refresh(grafana.VariableRefresh.OnTimeRangeChanged);
  if (options.multi === true)
    builder
      .multi(true)
      .includeAll(true)
      .current({ selected: true, text: ['All'], value: ['$__all'] });
  return builder.build();
}

/** Events that are drawn over the panels of a dashboard; the query's columns are `time`, `text` and `tags`. */
export function annotation(name: string, source: DataSource, iconColor: string, query: Query): grafana.AnnotationQuery {
  return new grafana.AnnotationQueryBuilder()
    .name(name)
    .datasource(referenceTo(source))
    .enable(true)
    .iconColor(iconColor)
    .target({ build: () => query.target('Anno') })
    .build();
}

/** The builder's default hides links in a menu. */
function visible(builder: grafana.DashboardLinkBuilder): grafana.DashboardLink {
  const { placement: _, ...link } = builder.build();
  return link;
}

/** The data sources that anything on the dashboard reads. */
function sourcesOf(options: DashboardOptions): readonly DataSource[] {
  const text = JSON.stringify(options);
  return [INFLUXDB, POSTGRES].filter((source) => text.includes(referenceTo(source).uid));
}

function sourceVariable({ variable, label, type, uid }: DataSource): grafana.VariableModel {
  return new grafana.DatasourceVariableBuilder(variable)
    .label(label)
    .description(`The data source of type ${type} that Muster writes to`)
    .type(type)
    .current({ selected: true, text: label, value: uid })
    .build();
}

/** A constant: a link that carries another value for it changes nothing, so nobody can be led astray by one. */
function consoleVariable(): grafana.VariableModel {
  return {
    ...new grafana.ConstantVariableBuilder('console')
      .label('Console')
      .description('Address of Muster’s console, for links')
      .value(CONSOLE_URL)
      .build(),
    skipUrlSync: true,
    current: { selected: true, text: CONSOLE_URL, value: CONSOLE_URL },
  };
}

/** Gives each row and panel its place and its id: the builders give none. */
function laidOut(rows: readonly Row[]): readonly (Panel | RowPanel)[] {
  const placed: (Panel | RowPanel)[] = [];
  let y = 0;
  for (const { title, panels } of rows) {
    const gridPos = { x: 0, y, w: COLUMNS, h: 1 };
    placed.push({ id: placed.length + 1, type: 'row', title, collapsed: false, gridPos, panels: [] });
    y += 1;
    let x = 0;
    let lineHeight = 0;
    for (const panel of panels) {
      const { w = COLUMNS, h = 1 } = panel.gridPos ?? {};
      if (x + w > COLUMNS) {
        x = 0;
        y += lineHeight;
        lineHeight = 0;
      }
      placed.push({ id: placed.length + 1, ...panel, gridPos: { x, y, w, h } });
      x += w;
      lineHeight = Math.max(lineHeight, h);
    }
    y += lineHeight;
  }
  return placed;
}
