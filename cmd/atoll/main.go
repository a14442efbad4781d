// Command atoll is a multi-tenant, disk-first database that speaks the Redis protocol: the server, and
// the commands of its operators.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// After the first signal the default handling is back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the process's exit code. What goes wrong is one line on
// stderr.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(&program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "atoll: "+strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
		return 1
	}
	return 0
}

// program is what the commands share.
type program struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "atoll",
		Short:         "A multi-tenant, disk-first database that speaks the Redis protocol",
		SilenceUsage:  true,
		SilenceErrors: true,
		// An error stays one line.
		DisableSuggestions: true,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.AddCommand(
		p.serverCommand(), p.metaCommand(), p.dataCommand(),
		p.nsCommand(), p.tokenCommand(), p.nodeCommand(), p.groupCommand(), p.tlsCommand(), p.auditCommand(), p.topCommand(),
		p.statusCommand(), p.healthCommand(), p.debugCommand(), p.benchCommand(), p.cliCommand(), p.configCommand(), p.manCommand(), p.versionCommand(),
	)
	addExamples(root, examples())
	return root
}

// group returns a command that only holds others: without one of theirs it shows its help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}

// command returns a command that takes the keys as flags, and runs f with its configuration.
func (p *program) command(use, short string, args cobra.PositionalArgs, keys []string, f func(context.Context, *config, []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := loadConfig(c.Flags(), p.environ)
			if err != nil {
				return err
			}
			return f(c.Context(), conf, args)
		},
	}
	addFlags(c.Flags(), keys)
	completeWords(c, keys)
	return c
}

// completeWords tells a shell the words that a key takes.
func completeWords(c *cobra.Command, names []string) {
	for _, name := range names {
		if k, _ := findKey(name); len(k.words) > 0 {
			// It only fails for a flag that there isn't.
			_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(k.words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}
