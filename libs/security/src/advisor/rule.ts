import type { Place } from './configuration.ts';
import type { Subject } from './subject.ts';

/** How bad a finding is, worst first. Advice costs no points. */
export const SEVERITIES = ['critical', 'high', 'medium', 'low', 'advice'] as const;
/** See {@link SEVERITIES}. */
export type Severity = (typeof SEVERITIES)[number];

/** One place at which a rule is broken. */
export interface Match {
  readonly place: Place;
  readonly title: string;
  /** The lines to write, or what to run; empty where `why` says it all. */
  readonly fix: readonly string[];
}

/** A rule of the advisor: pure, and independent of all others. */
export interface Rule {
  /** Stable, for programs. */
  readonly id: string;
  readonly severity: Severity;
  /** Points that each match costs. */
  readonly points: number;
  /** Points that all matches together cost at most. */
  readonly cap: number;
  /** One sentence: what can happen. */
  readonly why: string;
  readonly check: (subject: Subject) => readonly Match[];
}
