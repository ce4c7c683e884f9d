import { Command, CommanderError } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { addTokenCommands } from './access-commands.ts';
import { addAlertCommands } from './alert-commands.ts';
import { addAuditCommand } from './audit-command.ts';
import { addCompletionCommand } from './completion-command.ts';
import { addDeadLetterCommands } from './dead-letter-commands.ts';
import { addDecommissionCommand } from './decommission-commands.ts';
import { addDeviceCommands } from './device-commands.ts';
import { addEventsCommand } from './events-command.ts';
import { addIncidentCommand } from './incident-command.ts';
import { addGroupCommands } from './group-commands.ts';
import { addMigrateCommand } from './migrate-command.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './output.ts';
import { addExperimentCommands } from './experiment/experiment-command.ts';
import { addPlanCommands } from './plan-commands.ts';
import { addProfileCommands } from './profile-commands.ts';
import { addRetainedCommands } from './retained-commands.ts';
import { addRuleCommands } from './rule-commands.ts';
import { addSecureCommands } from './secure-commands.ts';
import { addSimulateCommand } from './simulate-command.ts';
import { UsageError } from './up/settings.ts';
import { addUpCommand } from './up/up-command.ts';
import { addVerifyCommand } from './verify.ts';
import { addWatchCommand } from './watch/watch-command.ts';

function program(): Command {
  const muster = new Command('muster')
    .description('Fleet monitor for MQTT devices: presence with a reason, decommissioning with a proof.')
    .version(manifest.version)
    .exitOverride()
    .showHelpAfterError('(--help shows what there is)');
  addUpCommand(muster);
  addWatchCommand(muster);
  addDeviceCommands(muster);
  addGroupCommands(muster);
  addDecommissionCommand(muster);
  addIncidentCommand(muster);
  addRetainedCommands(muster);
  addDeadLetterCommands(muster);
  addRuleCommands(muster);
  addAlertCommands(muster);
  addEventsCommand(muster);
  addAuditCommand(muster);
  addTokenCommands(muster);
  addSecureCommands(muster);
  addSimulateCommand(muster);
  addPlanCommands(muster);
  addExperimentCommands(muster);
  addVerifyCommand(muster);
  addMigrateCommand(muster);
  addProfileCommands(muster);
  addCompletionCommand(muster);
  return muster;
}

// Whoever read what we print may leave first, as `| head -1` does. That is no fault of ours, and what runs on ends itself.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') return;
  process.stderr.write(`muster: standard output cannot be written: ${error.message}\n`);
  process.exitCode = EXIT_FAILURE;
});

try {
  await program().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else {
    process.stderr.write(`muster: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
  }
}
// More than a pipe holds is written when its reader has made room; an ended reader is no reason to wait.
await new Promise((resolve) => process.stdout.write('', resolve));
// A started system may leave sockets that are still closing; everything has been stopped and said by now.
process.exit();
