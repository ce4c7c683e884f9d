import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  apiTokenListSchema,
  apiTokenRequestSchema,
  apiTokenSchema,
  newApiTokenSchema,
  signInSchema,
  signedInSchema,
  type ApiToken,
  type ApiTokenList,
  type ApiTokenRequest,
  type NewApiToken,
  type SignedIn,
  type SignIn,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { ApiProblem, NeedsNoToken, RequireScope, type SignedInRequest } from '@muster/service/rest';
import type { CookieOptions, Request, Response } from 'express';
import { SESSION_COOKIE } from './access.guard.ts';
import { Tokens } from './tokens.ts';

const SESSION_MS = 30 * 86_400_000;

/** No script can read it and no other site can send it; over HTTPS it never travels in the clear. */
function cookieOptions(request: Request): CookieOptions {
  return { httpOnly: true, sameSite: 'strict', secure: request.secure, path: '/api' };
}

/** The REST resources of tokens, and the sign-in of browsers. */
@Controller('api/v1')
@ApiTags('access')
export class AccessController {
  constructor(@Inject(Tokens) private readonly tokens: Tokens) {}

  @Get('tokens')
  @RequireScope('admin')
  @ApiOperation({ summary: 'Tokens of the API, the newest first' })
  @ApiResponse({ status: 200, description: 'All tokens', standardSchema: apiTokenListSchema })
  @ApiProblem(401, 403)
  async listTokens(): Promise<ApiTokenList> {
    return { items: [...(await this.tokens.list())] };
  }

  @Post('tokens')
  @RequireScope('admin')
  @ApiOperation({ summary: 'Make a token; it is shown this once' })
  @ApiResponse({ status: 201, description: 'The token', standardSchema: newApiTokenSchema })
  @ApiProblem(401, 403, 422)
  async createToken(@Body({ schema: apiTokenRequestSchema }) request: ApiTokenRequest): Promise<NewApiToken> {
    return this.tokens.create(request);
  }

  @Delete('tokens/:id')
  @RequireScope('admin')
  @ApiOperation({ summary: 'Revoke a token' })
  @ApiResponse({ status: 200, description: 'The revoked token', standardSchema: apiTokenSchema })
  @ApiProblem(401, 403, 404, 409)
  async revokeToken(@Param('id') id: string): Promise<ApiToken> {
    return this.tokens.revoke(id);
  }

  @Post('session')
  @HttpCode(200)
  @NeedsNoToken()
  @ApiOperation({ summary: 'Sign a browser in with a token: sets a cookie that no script can read' })
  @ApiResponse({ status: 200, description: 'Who is signed in', standardSchema: signedInSchema })
  @ApiProblem(401, 422)
  async signIn(
    @Body({ schema: signInSchema }) { token }: SignIn,
    @Req() request: SignedInRequest,
    @Res({ passthrough: true }) response: Response,
  ): Promise<SignedIn> {
    const session = await this.tokens.verify(token);
    if (session === undefined) throw new ProblemError(401, 'the token is unknown, revoked or expired');
    request.session = session;
    response.cookie(SESSION_COOKIE, token, { ...cookieOptions(request), maxAge: SESSION_MS });
    return session;
  }

  @Get('session')
  @ApiOperation({ summary: 'Whose token this is, and what it allows' })
  @ApiResponse({ status: 200, description: 'Who is asking', standardSchema: signedInSchema })
  @ApiProblem(401)
  session(@Req() request: Request & { readonly session?: SignedIn }): SignedIn {
    if (request.session === undefined) throw new ProblemError(401, 'nobody is signed in');
    return request.session;
  }

  @Delete('session')
  @HttpCode(204)
  @NeedsNoToken()
  @ApiOperation({ summary: 'Sign a browser out' })
  @ApiResponse({ status: 204, description: 'Signed out' })
  signOut(@Req() request: Request, @Res({ passthrough: true }) response: Response): void {
    response.clearCookie(SESSION_COOKIE, cookieOptions(request));
  }
}
