import { z } from 'zod';

/** The body of every error answer (RFC 9457, application/problem+json). */
export const problemSchema = z
  .object({
    type: z.string().describe('A URI that names the kind of problem; `about:blank` where the status says it all'),
    title: z.string(),
    status: z.number().int(),
    detail: z.string().optional().describe('What happened, and how to mend it'),
    instance: z.string().optional(),
    errors: z
      .array(
        z.object({
          path: z.string(),
          message: z.string(),
          line: z.number().int().optional().describe('In a YAML text or an imported file, counted from 1'),
          column: z.number().int().optional(),
        }),
      )
      .optional()
      .describe('The faults of a request that does not keep to its schema'),
  })
  .meta({ id: 'Problem' });
/** See {@link problemSchema}. */
export type Problem = z.infer<typeof problemSchema>;
