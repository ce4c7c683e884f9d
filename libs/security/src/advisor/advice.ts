import { z } from 'zod';
import { accessRules } from './access-rules.ts';
import { aclRules } from './acl-rules.ts';
import { formRules } from './form-rules.ts';
import { listenerRules } from './listener-rules.ts';
import { operationRules } from './operation-rules.ts';
import { passwordRules } from './password-rules.ts';
import { SEVERITIES, type Rule } from './rule.ts';
import type { Subject } from './subject.ts';

/** One finding: where, how bad, what it costs, why it matters, and the lines that mend it. */
export const findingSchema = z.strictObject({
  rule: z.string().describe('stable name of the rule'),
  severity: z.enum(SEVERITIES),
  points: z.int().min(0).describe('points lost by this finding; 0 where the cap of its rule was reached before'),
  file: z.string(),
  line: z.int().min(1).nullable().describe('null for what is missing'),
  title: z.string(),
  why: z.string(),
  fix: z.array(z.string()).describe('lines to write or commands to run'),
});
/** See {@link findingSchema}. */
export type Finding = z.infer<typeof findingSchema>;

/** What the advisor says of a configuration: `muster secure advise --json`. */
export const adviceSchema = z.strictObject({
  file: z.string(),
  score: z.int().min(0).max(100),
  findings: z.array(findingSchema).describe('worst first'),
});
/** See {@link adviceSchema}. */
export type Advice = z.infer<typeof adviceSchema>;

/** What `muster secure advise --write --json` says of the new configuration; the password of its account is in a file. */
export const writtenSchema = z.strictObject({
  file: z.string().describe('the new mosquitto.conf'),
  files: z.array(z.string()).describe('every file that was written'),
  notes: z.array(z.string()).describe('what is not as it was'),
  advice: adviceSchema.describe('on the new configuration'),
  passwordFile: z.string().nullable().describe('holds the password of a new account; null where none was made'),
});

/** The document of `muster secure advise --json`. */
export const adviceDocumentSchema = adviceSchema.extend({ written: writtenSchema.optional() });
/** See {@link adviceDocumentSchema}. */
export type AdviceDocument = z.infer<typeof adviceDocumentSchema>;

/** Every rule of the advisor. */
export const RULES: readonly Rule[] = [
  ...listenerRules,
  ...accessRules,
  ...aclRules,
  ...passwordRules,
  ...operationRules,
  ...formRules,
];

/**
 * Judges a configuration.
 *
 * The score is 100 minus the points of every finding, and never below 0. Each match of a rule costs the rule's points
 * until its matches together have cost the rule's cap, so that one mistake made fifty times does not hide fifty
 * different ones. Advice costs nothing. What is worse than another costs more: a finding that is enough for a stranger
 * to command devices costs 25 to 40, one that stops the broker from starting 15 and more, one that needs a second
 * mistake 5 to 10, one that loses messages 3 to 5, a matter of order 1 or 2. Nothing but the configuration, the files
 * that it names and the time of certificates goes in: the same input gives the same score.
 */
export function advise(subject: Subject, rules: readonly Rule[] = RULES): Advice {
  const findings = rules.flatMap(({ id, severity, points, cap, why, check }) =>
    check(subject).map(({ place, title, fix }, index): Finding => {
      const lost = Math.max(0, Math.min(points, cap - index * points));
      return { rule: id, severity, points: lost, file: place.file, line: place.line, title, why, fix: [...fix] };
    }),
  );
  const lost = findings.reduce((sum, finding) => sum + finding.points, 0);
  const rank = ({ severity }: Finding): number => SEVERITIES.indexOf(severity);
  return {
    file: subject.configuration.file,
    score: Math.max(0, 100 - lost),
    // The sort is stable: within a severity and a line the order of the rules stays.
    findings: findings.sort((left, right) => rank(left) - rank(right) || right.points - left.points),
  };
}
