import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Put, Query, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  modePatchSchema,
  modeSchema,
  ruleAppliedSchema,
  ruleApplySchema,
  ruleIdSchema,
  ruleListSchema,
  rulePatchSchema,
  ruleRunListSchema,
  ruleRunQuerySchema,
  ruleVersionQuerySchema,
  ruleViewSchema,
  timerListSchema,
  type Mode,
  type ModePatch,
  type RuleApplied,
  type RuleApply,
  type RuleList,
  type RulePatch,
  type RuleRunList,
  type RuleRunQuery,
  type RuleVersionQuery,
  type RuleView,
  type TimerList,
} from '@muster/contract';
import { PrismaClient } from '@muster/database';
import { ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { Automation } from './automation.ts';
import { readRules } from './rule-source.ts';
import { RuleStore } from './rule-store.ts';

const MAX_TIMERS = 1_000;

/** The REST resources of rules, what they wait for, what they did, and the mode. */
@Controller('api/v1')
@ApiTags('automation')
export class RulesController {
  constructor(
    @Inject(RuleStore) private readonly rules: RuleStore,
    @Inject(Automation) private readonly automation: Automation,
    @Inject(PrismaClient) private readonly database: PrismaClient,
  ) {}

  @Get('rules')
  @ApiOperation({ summary: 'All rules, in the order of their ids' })
  @ApiResponse({ status: 200, description: 'Rules', standardSchema: ruleListSchema })
  @ApiProblem(401)
  async listRules(): Promise<RuleList> {
    return { items: [...(await this.rules.list())] };
  }

  @Post('rules')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Save the rules of a YAML document: each as a new version where it has changed; all of them or none',
  })
  @ApiResponse({ status: 200, description: 'What became of each', standardSchema: ruleAppliedSchema })
  @ApiProblem(401, 403, 422)
  async applyRules(
    @Body({ schema: ruleApplySchema }) { yaml, dryRun }: RuleApply,
    @Req() request: SignedInRequest,
  ): Promise<RuleApplied> {
    const applied = await this.rules.apply(readRules(yaml), request.session?.name ?? 'unknown', dryRun);
    if (!dryRun && applied.rules.some(({ change }) => change !== 'unchanged')) await this.automation.rulesChanged();
    return applied;
  }

  @Get('rules/:id')
  @ApiOperation({ summary: 'One rule, in its newest version or in an older one' })
  @ApiResponse({ status: 200, description: 'The rule', standardSchema: ruleViewSchema })
  @ApiProblem(401, 404, 422)
  async findRule(
    @Param('id', { schema: ruleIdSchema }) id: string,
    @Query({ schema: ruleVersionQuerySchema }) { version }: RuleVersionQuery,
  ): Promise<RuleView> {
    return this.rules.find(id, version);
  }

  @Patch('rules/:id')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Let a rule run or not; a stopped one that is enabled runs again' })
  @ApiResponse({ status: 200, description: 'The rule', standardSchema: ruleViewSchema })
  @ApiProblem(401, 403, 404, 422)
  async enableRule(
    @Param('id', { schema: ruleIdSchema }) id: string,
    @Body({ schema: rulePatchSchema }) { enabled }: RulePatch,
  ): Promise<RuleView> {
    await this.rules.enable(id, enabled);
    await this.automation.rulesChanged();
    return this.rules.find(id);
  }

  @Delete('rules/:id')
  @RequireScope('operator')
  @HttpCode(204)
  @ApiOperation({ summary: 'Remove a rule and what it waits for; its versions are kept' })
  @ApiResponse({ status: 204, description: 'It is gone' })
  @ApiProblem(401, 403, 404, 422)
  async removeRule(@Param('id', { schema: ruleIdSchema }) id: string): Promise<void> {
    await this.rules.remove(id);
    await this.automation.rulesChanged();
  }

  @Get('automation-runs')
  @ApiOperation({ summary: 'What rules have done within a week, the newest first; at most 60 a minute of each rule' })
  @ApiResponse({ status: 200, description: 'Runs', standardSchema: ruleRunListSchema })
  @ApiProblem(401, 422)
  async listRuns(@Query({ schema: ruleRunQuerySchema }) { rule, limit }: RuleRunQuery): Promise<RuleRunList> {
    return { items: await this.rules.runs(rule, limit) };
  }

  @Get('timers')
  @ApiOperation({ summary: `What rules wait for, the next first; at most ${MAX_TIMERS}` })
  @ApiResponse({ status: 200, description: 'Timers', standardSchema: timerListSchema })
  @ApiProblem(401)
  async listTimers(): Promise<TimerList> {
    const rows = await this.database.ruleTimer.findMany({
      where: { state: 'armed' },
      orderBy: { dueAt: 'asc' },
      take: MAX_TIMERS,
    });
    return {
      items: rows.flatMap(({ rule, part, subject, state, dueAt }) =>
        dueAt === null ? [] : [{ rule, part, subject, state, dueAt: dueAt.toISOString() }],
      ),
    };
  }

  @Get('mode')
  @ApiOperation({ summary: 'The mode that rules ask for: day, evening, away, …' })
  @ApiResponse({ status: 200, description: 'The mode', standardSchema: modeSchema })
  @ApiProblem(401)
  async findMode(): Promise<Mode> {
    const row = await this.database.mode.findUnique({ where: { id: 1 } });
    return { mode: row?.mode ?? 'day', since: row?.since.toISOString() ?? null, setBy: row?.setBy ?? null };
  }

  @Put('mode')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Set the mode' })
  @ApiResponse({ status: 200, description: 'The mode', standardSchema: modeSchema })
  @ApiProblem(401, 403, 422)
  async setMode(
    @Body({ schema: modePatchSchema }) { mode }: ModePatch,
    @Req() request: SignedInRequest,
  ): Promise<Mode> {
    await this.automation.setMode(mode, request.session?.name ?? 'unknown');
    return this.findMode();
  }
}
