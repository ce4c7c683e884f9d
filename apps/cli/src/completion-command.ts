import { Argument, type Command, type Option } from 'commander';
import { write } from './output.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** A word that can stand at a place, and what it does. */
interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** An option that takes a value. */
interface ValueOption extends Candidate {
  /** Its values where they are known; none where it is any text. */
  readonly choices: readonly string[];
  readonly isPath: boolean;
}

/** What may follow one command: `device ls`, or nothing at the very beginning. */
interface Place {
  readonly path: string;
  readonly commands: readonly Candidate[];
  readonly flags: readonly Candidate[];
  readonly valueOptions: readonly ValueOption[];
  readonly argumentChoices: readonly string[];
  readonly takesPath: boolean;
}

const PATH_PLACEHOLDER = /<(?:file|path|dir)>/;

function firstSentence(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}

function optionWords({ long, short, description }: Option): readonly Candidate[] {
  return [long, short].flatMap((word) =>
    word === undefined ? [] : [{ word, description: firstSentence(description) }],
  );
}

/** Every command below one, with what may follow it, from commander's own tree. */
function placesOf(command: Command, path: string): readonly Place[] {
  const help = command.createHelp();
  const options = help.visibleOptions(command);
  const takesValue = (option: Option): boolean => option.required || option.optional;
  const place: Place = {
    path,
    commands: help
      .visibleCommands(command)
      .map((child) => ({ word: child.name(), description: firstSentence(help.subcommandDescription(child)) })),
    flags: options.filter((option) => !takesValue(option)).flatMap(optionWords),
    valueOptions: options.filter(takesValue).flatMap((option) =>
      optionWords(option).map((candidate) => ({
        ...candidate,
        choices: option.argChoices ?? [],
        isPath: PATH_PLACEHOLDER.test(option.flags),
      })),
    ),
    argumentChoices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    takesPath: command.registeredArguments.some((argument) => argument.name() === 'file'),
  };
  const below = command.commands.flatMap((child) => placesOf(child, `${path} ${child.name()}`.trim()));
  return [place, ...below];
}

/** In single quotes, as bash and zsh read them. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** In single quotes, as fish reads them. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

function words(candidates: readonly Candidate[]): string {
  return candidates.map(({ word }) => word).join(' ');
}

/** The words before the one that is completed, without options and their values: at which command it stands. */
function pathLoop(places: readonly Place[], wordsBefore: string): string {
  const known = places.map(({ path }) => path).filter((path) => path !== '');
  const withValue = [...new Set(places.flatMap(({ valueOptions }) => valueOptions.map(({ word }) => word)))];
  return `  local at='' word skip=''
  for word in ${wordsBefore}; do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case "$word" in
      ${withValue.join('|')}) skip=1 ;;
      -*) ;;
      *) case "\${at:+$at }$word" in ${known.map(quoted).join('|')}) at="\${at:+$at }$word" ;; esac ;;
    esac
  done`;
}

function bashScript(places: readonly Place[]): string {
  const cases = places.map(({ path, commands, flags, valueOptions, argumentChoices, takesPath }) => {
    const values = valueOptions
      .filter(({ choices, isPath }) => isPath || choices.length > 0)
      .map(({ word, choices, isPath }) => `${word}) ${isPath ? 'files=1' : `values=${quoted(choices.join(' '))}`} ;;`);
    const any = valueOptions.map(({ word }) => word).join('|');
    return `    ${quoted(path)})
      case "$previous" in ${[...values, ...(any === '' ? [] : [`${any}) return ;;`])].join(' ')}
        *) values=${quoted([words(commands), argumentChoices.join(' '), words(flags), words(valueOptions)].filter((part) => part !== '').join(' '))}${takesPath ? '; files=1' : ''} ;;
      esac ;;`;
  });
  return `# bash completion of muster: source <(muster completion bash)
_muster() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}" values='' files=''
${pathLoop(places, '"${COMP_WORDS[@]:1:COMP_CWORD - 1}"')}
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$values" -- "$current"))
  if [[ -n $files ]]; then COMPREPLY+=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; fi
}
complete -F _muster muster
`;
}

function zshScript(places: readonly Place[]): string {
  const described = (candidates: readonly Candidate[]): string =>
    candidates.map(({ word, description }) => quoted(`${word.replaceAll(':', '\\:')}:${description}`)).join(' ');
  const cases = places.map(({ path, commands, flags, valueOptions, argumentChoices, takesPath }) => {
    const values = valueOptions.map(({ word, choices, isPath }) =>
      isPath ? `${word}) _files; return ;;` : `${word}) compadd -- ${choices.map(quoted).join(' ')}; return ;;`,
    );
    return `    ${quoted(path)})
      case "$previous" in ${values.join(' ')} esac
      candidates=(${described(commands)})
      options=(${described([...flags, ...valueOptions])})
      ${argumentChoices.length === 0 ? '' : `compadd -- ${argumentChoices.map(quoted).join(' ')}`}${takesPath ? '_files' : ''}
      ;;`;
  });
  return `#compdef muster
# zsh completion of muster: source <(muster completion zsh), after compinit
_muster() {
  local -a candidates options
  local previous="\${words[CURRENT - 1]}"
${pathLoop(places, '"${(@)words[2,CURRENT - 1]}"')}
  case "$at" in
${cases.join('\n')}
  esac
  (( \${#candidates} )) && _describe command candidates
  [[ $PREFIX == -* || \${#candidates} -eq 0 ]] && _describe -o option options
  return 0
}
compdef _muster muster
`;
}

function fishScript(places: readonly Place[]): string {
  const withValue = [...new Set(places.flatMap(({ valueOptions }) => valueOptions.map(({ word }) => word)))];
  const known = places.map(({ path }) => path).filter((path) => path !== '');
  const lines = places.flatMap(({ path, commands, flags, valueOptions, argumentChoices, takesPath }) => {
    const here = `complete -c muster -n ${fishQuoted(`test "$(__muster_at)" = ${fishQuoted(path)}`)}`;
    const name = (word: string): string => (word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`);
    return [
      ...commands.map(({ word, description }) => `${here} -a ${word} -d ${fishQuoted(description)}`),
      ...argumentChoices.map((choice) => `${here} -a ${choice}`),
      ...flags.map(({ word, description }) => `${here} ${name(word)} -d ${fishQuoted(description)}`),
      ...valueOptions.map(({ word, description, choices, isPath }) => {
        const values = isPath ? '-rF' : choices.length > 0 ? `-x -a ${fishQuoted(choices.join(' '))}` : '-x';
        return `${here} ${name(word)} ${values} -d ${fishQuoted(description)}`;
      }),
      ...(takesPath ? [`${here} -F`] : []),
    ];
  });
  return `# fish completion of muster: muster completion fish | source
function __muster_at
  set -l at
  set -l skip
  for word in (commandline -opc)[2..-1]
    if test -n "$skip"
      set skip
      continue
    end
    switch $word
      case ${withValue.join(' ')}
        set skip 1
      case '-*'
      case '*'
        if contains -- (string join ' ' $at $word) ${known.map(fishQuoted).join(' ')}
          set -a at $word
        end
    end
  end
  string join ' ' $at
end
complete -c muster -f
${lines.join('\n')}
`;
}

const SCRIPTS: Readonly<Record<Shell, (places: readonly Place[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** The completion of a whole command line for a shell: static, so that no TAB has to wait until Node has started. */
export function completionScript(muster: Command, shell: Shell): string {
  return SCRIPTS[shell](placesOf(muster, ''));
}

/** Adds `muster completion` to the command line. */
export function addCompletionCommand(muster: Command): void {
  muster
    .command('completion')
    .description('print what makes a shell complete muster: source <(muster completion bash)')
    .addArgument(new Argument('<shell>', 'for which shell').choices(SHELLS))
    .action((shell: Shell) => {
      write(completionScript(muster, shell).trimEnd());
    });
}
