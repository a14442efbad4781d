package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes a manual page for each command, for packages.
func (p *program) manCommand() *cobra.Command {
	c := p.command("man DIRECTORY", "Write the manual pages of every command into a directory", cobra.ExactArgs(1), nil,
		func(_ context.Context, _ *config, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			root := newRoot(p)
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Section: "1", Source: "Atoll " + version, Manual: "Atoll"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			return nil
		})
	c.Long = c.Short + `, such as /usr/local/share/man/man1. It is made if it doesn't exist.
The date in them is that of SOURCE_DATE_EPOCH, seconds since 1970, if it is set.`
	return c
}
