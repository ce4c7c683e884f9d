import nx from '@nx/eslint-plugin';
import jsdoc from 'eslint-plugin-jsdoc';
import ts from 'typescript-eslint';

/** Who may use whom (docs/decisions/002-boundaries.md). */
const depConstraints = [
  { sourceTag: 'type:service', onlyDependOnLibsWithTags: ['runs:anywhere', 'runs:node'] },
  { sourceTag: 'type:tool', onlyDependOnLibsWithTags: ['runs:anywhere', 'runs:node', 'runs:development'] },
  { sourceTag: 'type:e2e', onlyDependOnLibsWithTags: ['runs:anywhere', 'runs:node', 'runs:development'] },
  { sourceTag: 'type:browser', onlyDependOnLibsWithTags: ['runs:anywhere'] },
  {
    sourceTag: 'runs:anywhere',
    onlyDependOnLibsWithTags: ['runs:anywhere'],
    allowedExternalImports: ['zod', 'vitest', 'fast-check'],
  },
  { sourceTag: 'runs:node', onlyDependOnLibsWithTags: ['runs:anywhere', 'runs:node'] },
  { sourceTag: 'runs:development', onlyDependOnLibsWithTags: ['runs:anywhere', 'runs:node', 'runs:development'] },
];

export default ts.config(
  { ignores: ['**/dist', '**/node_modules', '.nx', '.muster', 'libs/database/src/client'] },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [ts.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { '@nx': nx, jsdoc },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        { enforceBuildableLibDependency: false, allow: ['../../vite.node.ts'], depConstraints },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Nest's modules and controllers are classes by design.
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNullish: true },
      ],
      // Nest types the options of its factory as a class and takes any object.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'no-console': 'error',
      'no-empty': ['error', { allowEmptyCatch: false }],
      'jsdoc/require-jsdoc': [
        'error',
        {
          publicOnly: true,
          require: { ClassDeclaration: true, FunctionDeclaration: true, MethodDefinition: false },
          contexts: ['TSInterfaceDeclaration', 'TSTypeAliasDeclaration', 'TSEnumDeclaration'],
        },
      ],
    },
  },
  {
    files: ['**/*.spec.ts'],
    rules: {
      // A test hands methods to expect() without calling them.
      '@typescript-eslint/unbound-method': 'off',
      // Asymmetric matchers are any; short callbacks collect what they get.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      'jsdoc/require-jsdoc': 'off',
    },
  },
  { files: ['libs/database/new-migration.ts'], rules: { 'no-console': 'off' } },
);
