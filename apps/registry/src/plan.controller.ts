import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import {
  calculatorListSchema,
  calculators,
  listCalculators,
  PlannerError,
  planSchema,
  type Calculator,
  type CalculatorList,
  type Field,
  type Plan,
} from '@muster/planner';
import { ProblemError } from '@muster/service';
import { ApiProblem } from '@muster/service/rest';

/** The REST resources of the planner: one for each calculator, made from the planner's own list. */
@Controller('api/v1')
@ApiTags('plan')
export class PlanController {
  @Get('plan')
  @ApiOperation({ summary: 'The calculators, with the JSON schemas of what they take and answer' })
  @ApiResponse({ status: 200, description: 'All calculators', standardSchema: calculatorListSchema })
  @ApiProblem(401)
  listPlans(): CalculatorList {
    return listCalculators();
  }
}

function answer(calculator: Calculator, query: Readonly<Record<string, unknown>>): Plan {
  try {
    return calculator.answer(query);
  } catch (error) {
    if (!(error instanceof PlannerError)) throw error;
    throw new ProblemError(
      422,
      error.message,
      error.faults.map(({ field, message }) => ({ path: field, message })),
    );
  }
}

function queryOf({ name, description, ...field }: Field): MethodDecorator {
  return ApiQuery({ name, description, required: false, schema: { ...field } });
}

/** Adds the resource of a calculator to the controller, with what decorators would say of a method that was written. */
function addResource(calculator: Calculator): void {
  const operation = `plan-${calculator.id}`.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  // Nest and OpenAPI know an operation by the name of its function, which it has from here.
  const methods = { [operation]: (query: Readonly<Record<string, unknown>>) => answer(calculator, query) };
  const descriptor = { value: methods[operation] };
  Object.defineProperty(PlanController.prototype, operation, descriptor);
  const decorators = [
    Get(`plan/${calculator.id}`),
    ApiOperation({ summary: calculator.question }),
    ApiResponse({ status: 200, description: calculator.title, standardSchema: planSchema }),
    ApiProblem(401, 422),
    ...calculator.fields.map(queryOf),
  ];
  for (const decorate of decorators) decorate(PlanController.prototype, operation, descriptor);
  Query()(PlanController.prototype, operation, 0);
}

for (const calculator of calculators) addResource(calculator);
