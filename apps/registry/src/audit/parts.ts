import { APP_INTERCEPTOR } from '@nestjs/core';
import type { OpenAPIObject } from '@nestjs/swagger';
import type { ApiParts, RunningParts, RegistryContext } from '../registry-context.ts';
import { OperationNames } from './audit-detail.ts';
import { AuditController } from './audit.controller.ts';
import { AuditInterceptor, AuditTrail } from './audit.interceptor.ts';
import { Audit } from './audit.ts';

/** The audit log. */
export const AUDIT_API: ApiParts = { controllers: [AuditController], injected: [Audit] };

/** What records every change. */
export interface AuditParts extends RunningParts {
  readonly trail: AuditTrail;
}

/** Makes {@link AuditParts}; requests are named after the operations of the API. */
export function auditParts({ database, logger }: RegistryContext, api: OpenAPIObject): AuditParts {
  const audit = new Audit(database, logger);
  const trail = new AuditTrail(audit, new OperationNames(api.paths), logger);
  return {
    trail,
    providers: [
      { provide: APP_INTERCEPTOR, useClass: AuditInterceptor },
      { provide: AuditTrail, useValue: trail },
      { provide: Audit, useValue: audit },
    ],
    stop: [() => trail.close(), () => audit.close()],
  };
}
