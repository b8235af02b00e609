"""What the console's pages show: reads only, bounded whatever the request says, in a stable order."""
