import { Controller, Get, Inject, Query } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { incidentPageSchema, presenceQuerySchema, type IncidentPage, type PresenceQuery } from '@muster/contract';
import { ApiProblem } from '@muster/service/rest';
import { Devices } from './devices.ts';

/** Brokers that were away. */
@Controller('api/v1')
@ApiTags('devices')
export class IncidentsController {
  constructor(@Inject(Devices) private readonly devices: Devices) {}

  @Get('incidents')
  @ApiOperation({
    summary: 'Times in which a broker was lost or started anew, and what became of its devices; the newest first',
  })
  @ApiResponse({ status: 200, description: 'A page', standardSchema: incidentPageSchema })
  @ApiProblem(401, 422)
  async list(@Query({ schema: presenceQuerySchema }) query: PresenceQuery): Promise<IncidentPage> {
    return this.devices.incidents(query);
  }
}
