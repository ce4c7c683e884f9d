import { pipeline } from 'node:stream/promises';
import { Body, Controller, Get, HttpCode, Inject, Post, Query, Req, Res } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiOperation, ApiProduces, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  bulkRequestSchema,
  bulkResultSchema,
  deviceId,
  exportedDeviceSchema,
  exportQuerySchema,
  importQuerySchema,
  importResultSchema,
  MAX_IMPORT_BYTES,
  type BulkRequest,
  type BulkResult,
  type DeviceFileFormat,
  type ExportQuery,
  type ImportQuery,
  type ImportResult,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { ApiProblem, RequireScope } from '@muster/service/rest';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { changedDevices, fileRead, noteInAudit } from '../audit/audit-notes.ts';
import { BulkChanges } from './bulk-changes.ts';
import { DeviceTransfer } from './device-transfer.ts';
import { Devices } from './devices.ts';

/** The path of imports, whose requests are read here. */
export const IMPORT_PATH = '/api/v1/devices/import';

const MEDIA_TYPES: Readonly<Record<DeviceFileFormat, string>> = { csv: 'text/csv', json: 'application/json' };

/** The REST resources of many devices at once. */
@Controller('api/v1/devices')
@ApiTags('devices')
export class FleetController {
  constructor(
    @Inject(Devices) private readonly devices: Devices,
    @Inject(BulkChanges) private readonly bulkChanges: BulkChanges,
    @Inject(DeviceTransfer) private readonly transfer: DeviceTransfer,
  ) {}

  @Post('bulk')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Tag, untag, group, ungroup or decommission many devices; with preview only show which' })
  @ApiResponse({ status: 200, description: 'What was changed, or would be', standardSchema: bulkResultSchema })
  @ApiResponse({
    status: 202,
    description: 'The decommissionings are on record and go on by themselves; follow says where',
    standardSchema: bulkResultSchema,
  })
  @ApiProblem(401, 403, 404, 409, 422)
  async bulk(
    @Body({ schema: bulkRequestSchema }) request: BulkRequest,
    @Req() incoming: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<BulkResult> {
    const result = await this.bulkChanges.run(request, (devices) => noteInAudit(incoming, changedDevices(devices)));
    if (request.action === 'decommission' && !request.preview) response.status(202);
    return result;
  }

  /** Without a format it is the device of that name. */
  @Get('export')
  @ApiOperation({ summary: 'Devices as a file; an import of it changes nothing' })
  @ApiProduces('application/json', 'text/csv')
  @ApiResponse({ status: 200, description: 'The file', standardSchema: z.array(exportedDeviceSchema) })
  @ApiProblem(401, 422)
  async exportDevices(
    @Query({ schema: exportQuerySchema }) { format, q }: ExportQuery,
    @Res() response: Response,
  ): Promise<void> {
    if (format === undefined) {
      response.json(await this.devices.find(deviceId('export')));
      return;
    }
    const pieces = this.transfer.export(format, q ?? '');
    response.attachment(`devices.${format}`).type(`${MEDIA_TYPES[format]}; charset=utf-8`);
    try {
      // What fails on the way breaks the connection off: half a file must not look like a whole one.
      await pipeline(pieces, response);
    } catch (error) {
      // Who asked has left.
      if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
    }
  }

  @Post('import')
  @RequireScope('operator')
  @HttpCode(200)
  @ApiOperation({ summary: 'Register or change the devices of a file: all of them or none, unless partial=true' })
  @ApiConsumes('application/json', 'text/csv')
  @ApiBody({ description: 'A file such as an export makes', schema: { type: 'string', format: 'binary' } })
  @ApiResponse({ status: 200, description: 'What was done, or would be', standardSchema: importResultSchema })
  @ApiProblem(401, 403, 413, 415, 422)
  async importDevices(
    @Query({ schema: importQuerySchema }) { preview, partial }: ImportQuery,
    @Req() request: Request,
  ): Promise<ImportResult> {
    const format = formatOf(request);
    const bytes = await bodyOf(request);
    noteInAudit(request, { file: fileRead(bytes) });
    const options = { preview: preview === 'true', partial: partial === 'true' };
    const result = await this.transfer.import(format, bytes, options);
    const { rows, created, updated, unchanged, refused, groupsCreated } = result;
    noteInAudit(request, { rows, created, updated, unchanged, refused, groupsCreated: groupsCreated.length });
    return result;
  }
}

/** @throws ProblemError 415 */
function formatOf({ headers }: Request): DeviceFileFormat {
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type === 'text/csv') return 'csv';
  if (type === 'application/json') return 'json';
  throw new ProblemError(
    415,
    `expected Content-Type text/csv or application/json; found ${JSON.stringify(type ?? 'none')}`,
  );
}

/** @throws ProblemError 413, 415 */
async function bodyOf(request: Request): Promise<Uint8Array> {
  if ((request.headers['content-encoding'] ?? 'identity') !== 'identity')
    throw new ProblemError(415, 'the file is compressed; send it as it is');
  const tooLarge = (): ProblemError =>
    new ProblemError(413, `the file has more than ${MAX_IMPORT_BYTES / 1_048_576} MiB; divide it`);
  if (Number(request.headers['content-length'] ?? 0) > MAX_IMPORT_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_IMPORT_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
