import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Put, Req } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  alertNameSchema,
  alertRuleApplySchema,
  alertRuleChangesSchema,
  alertRuleFileSchema,
  alertRuleListSchema,
  alertRuleSchema,
  alertRuleVersionsSchema,
  alertRuleViewSchema,
  type AlertRule,
  type AlertRuleApply,
  type AlertRuleChanges,
  type AlertRuleList,
  type AlertRuleVersions,
  type AlertRuleView,
} from '@muster/contract';
import { ProblemError, YamlSource } from '@muster/service';
import { actorOf, ApiProblem, RequireScope, type SignedInRequest } from '@muster/service/rest';
import { AlertRules, type StoredRule } from './alert-rules.ts';
import { AlertStore } from './alert-store.ts';

/** The REST resources of alert rules. */
@Controller('api/v1/alert-rules')
@ApiTags('alerts')
export class AlertRulesController {
  constructor(
    @Inject(AlertRules) private readonly rules: AlertRules,
    @Inject(AlertStore) private readonly store: AlertStore,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Alert rules, in the order of their names' })
  @ApiResponse({ status: 200, description: 'All rules', standardSchema: alertRuleListSchema })
  @ApiProblem(401)
  async listAlertRules(): Promise<AlertRuleList> {
    return { items: [...(await this.#views(await this.rules.list()))] };
  }

  @Post('apply')
  @HttpCode(200)
  @RequireScope('operator')
  @ApiOperation({ summary: 'Put the rules of a YAML text in force, or say what that would do; others stay' })
  @ApiResponse({ status: 200, description: 'What became of each', standardSchema: alertRuleChangesSchema })
  @ApiProblem(401, 403, 422)
  async applyAlertRules(
    @Body({ schema: alertRuleApplySchema }) { yaml, dryRun }: AlertRuleApply,
    @Req() request: SignedInRequest,
  ): Promise<AlertRuleChanges> {
    return this.rules.apply(new YamlSource(yaml).as(alertRuleFileSchema).rules, actorOf(request), dryRun);
  }

  @Get(':name')
  @ApiOperation({ summary: 'One alert rule' })
  @ApiResponse({ status: 200, description: 'The rule', standardSchema: alertRuleViewSchema })
  @ApiProblem(401, 404, 422)
  async findAlertRule(@Param('name', { schema: alertNameSchema }) name: string): Promise<AlertRuleView> {
    return this.#view(name);
  }

  @Get(':name/versions')
  @ApiOperation({ summary: 'Every version of an alert rule, the newest first' })
  @ApiResponse({ status: 200, description: 'Versions', standardSchema: alertRuleVersionsSchema })
  @ApiProblem(401, 404, 422)
  async listAlertRuleVersions(@Param('name', { schema: alertNameSchema }) name: string): Promise<AlertRuleVersions> {
    return this.rules.versions(name);
  }

  @Put(':name')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Make an alert rule, or a new version of it' })
  @ApiResponse({ status: 200, description: 'The rule', standardSchema: alertRuleViewSchema })
  @ApiProblem(401, 403, 422)
  async replaceAlertRule(
    @Param('name', { schema: alertNameSchema }) name: string,
    @Body({ schema: alertRuleSchema }) rule: AlertRule,
    @Req() request: SignedInRequest,
  ): Promise<AlertRuleView> {
    if (rule.name !== name) throw new ProblemError(422, `the path says ${name}, and the body ${rule.name}`);
    await this.rules.apply([rule], actorOf(request), false);
    return this.#view(name);
  }

  @Delete(':name')
  @HttpCode(204)
  @RequireScope('operator')
  @ApiOperation({ summary: 'Delete an alert rule; its alerts end, its versions are kept' })
  @ApiResponse({ status: 204, description: 'Deleted' })
  @ApiProblem(401, 403, 404, 422)
  async deleteAlertRule(
    @Param('name', { schema: alertNameSchema }) name: string,
    @Req() request: SignedInRequest,
  ): Promise<void> {
    await this.rules.remove(name, actorOf(request));
  }

  async #view(name: string): Promise<AlertRuleView> {
    const [view] = await this.#views([await this.rules.find(name)]);
    if (view === undefined) throw new ProblemError(404, `there is no alert rule ${name}`);
    return view;
  }

  async #views(rules: readonly StoredRule[]): Promise<readonly AlertRuleView[]> {
    const counts = await this.store.openCounts();
    return rules.map((rule) => ({
      name: rule.name,
      version: rule.version,
      definition: rule.definition,
      starter: this.rules.isStarter(rule),
      author: rule.author,
      updatedAt: rule.updatedAt.toISOString(),
      ...(counts.get(rule.name) ?? { firing: 0, pending: 0 }),
    }));
  }
}
