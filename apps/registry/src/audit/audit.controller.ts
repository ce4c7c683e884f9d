import { Controller, Get, Inject, Query } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  auditPageSchema,
  auditQuerySchema,
  auditVerificationSchema,
  type AuditPage,
  type AuditQuery,
  type AuditVerification,
} from '@muster/contract';
import { ApiProblem, RequireScope } from '@muster/service/rest';
import { Audit } from './audit.ts';

/** The REST resources of the audit log. */
@Controller('api/v1')
@ApiTags('audit')
export class AuditController {
  constructor(@Inject(Audit) private readonly audit: Audit) {}

  @Get('audit')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Who changed what, the newest first' })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: auditPageSchema })
  @ApiProblem(401, 403, 422)
  async listAudit(@Query({ schema: auditQuerySchema }) query: AuditQuery): Promise<AuditPage> {
    return this.audit.page(query);
  }

  @Get('audit/verify')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Whether the audit log is as it was written: goes through all of it' })
  @ApiResponse({ status: 200, description: 'What was found', standardSchema: auditVerificationSchema })
  @ApiProblem(401, 403)
  async verifyAudit(): Promise<AuditVerification> {
    return this.audit.verify();
  }
}
