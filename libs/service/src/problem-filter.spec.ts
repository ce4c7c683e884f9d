import { NotFoundException } from '@nestjs/common';
import { ContractError } from '@muster/contract';
import { describe, expect, it } from 'vitest';
import { ProblemError, problemOf } from './problem-filter.ts';

describe('the problem of an error', () => {
  it.each([
    [new ProblemError(409, 'gone'), 409, 'gone'],
    [new ContractError('invalid-device-id', 'not a device id'), 422, 'not a device id'],
    [new NotFoundException('Cannot GET /x'), 404, 'Cannot GET /x'],
    [
      Object.assign(new Error('request entity too large'), { status: 413, expose: true }),
      413,
      'request entity too large',
    ],
  ])('%s', (error, status, detail) => {
    expect(problemOf(error)).toMatchObject({ type: 'about:blank', status, detail });
  });

  it('says nothing of errors that are ours', () => {
    expect(problemOf(new Error('connect ECONNREFUSED 10.0.0.1:5432'))).toBeUndefined();
    expect(problemOf(Object.assign(new Error('secret'), { status: 500, expose: false }))).toBeUndefined();
    expect(problemOf('thrown text')).toBeUndefined();
  });
});
