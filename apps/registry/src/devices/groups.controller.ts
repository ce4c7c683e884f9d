import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Put } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  deviceIdSchema,
  groupListSchema,
  groupNameSchema,
  groupPatchSchema,
  groupRequestSchema,
  groupSchema,
  type DeviceId,
  type Group,
  type GroupList,
  type GroupPatch,
  type GroupRequest,
} from '@muster/contract';
import { ApiProblem, RequireScope } from '@muster/service/rest';
import { Groups } from './groups.ts';

/** The REST resources of groups. `GET /devices?q=group:NAME` lists the devices of one. */
@Controller('api/v1/groups')
@ApiTags('devices')
export class GroupsController {
  constructor(@Inject(Groups) private readonly groups: Groups) {}

  @Get()
  @ApiOperation({ summary: 'All groups of devices, in the order of their names' })
  @ApiResponse({ status: 200, description: 'Groups', standardSchema: groupListSchema })
  @ApiProblem(401)
  async listGroups(): Promise<GroupList> {
    return this.groups.list();
  }

  @Post()
  @RequireScope('operator')
  @ApiOperation({ summary: 'Make a group' })
  @ApiResponse({ status: 201, description: 'The group', standardSchema: groupSchema })
  @ApiProblem(401, 403, 409, 422)
  async createGroup(@Body({ schema: groupRequestSchema }) request: GroupRequest): Promise<Group> {
    return this.groups.create(request);
  }

  @Get(':name')
  @ApiOperation({ summary: 'One group; GET /devices?q=group:NAME lists its devices' })
  @ApiResponse({ status: 200, description: 'The group', standardSchema: groupSchema })
  @ApiProblem(401, 404, 422)
  async findGroup(@Param('name', { schema: groupNameSchema }) name: string): Promise<Group> {
    return this.groups.find(name);
  }

  @Patch(':name')
  @RequireScope('operator')
  @ApiOperation({ summary: 'Change the name or the description of a group' })
  @ApiResponse({ status: 200, description: 'The group', standardSchema: groupSchema })
  @ApiProblem(401, 403, 404, 409, 422)
  async patchGroup(
    @Param('name', { schema: groupNameSchema }) name: string,
    @Body({ schema: groupPatchSchema }) patch: GroupPatch,
  ): Promise<Group> {
    return this.groups.patch(name, patch);
  }

  @Delete(':name')
  @RequireScope('operator')
  @HttpCode(204)
  @ApiOperation({ summary: 'Remove a group; its devices stay' })
  @ApiResponse({ status: 204, description: 'It is gone' })
  @ApiProblem(401, 403, 404, 422)
  async removeGroup(@Param('name', { schema: groupNameSchema }) name: string): Promise<void> {
    await this.groups.remove(name);
  }

  @Put(':name/devices/:id')
  @RequireScope('operator')
  @HttpCode(204)
  @ApiOperation({ summary: 'Put a device into a group; a discovered device becomes a registered one' })
  @ApiResponse({ status: 204, description: 'It is in it' })
  @ApiProblem(401, 403, 404, 409, 422)
  async addToGroup(
    @Param('name', { schema: groupNameSchema }) name: string,
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
  ): Promise<void> {
    await this.groups.add(name, id);
  }

  @Delete(':name/devices/:id')
  @RequireScope('operator')
  @HttpCode(204)
  @ApiOperation({ summary: 'Take a device out of a group' })
  @ApiResponse({ status: 204, description: 'It is not in it' })
  @ApiProblem(401, 403, 404, 422)
  async takeFromGroup(
    @Param('name', { schema: groupNameSchema }) name: string,
    @Param('id', { schema: deviceIdSchema }) id: DeviceId,
  ): Promise<void> {
    await this.groups.take(name, id);
  }
}
