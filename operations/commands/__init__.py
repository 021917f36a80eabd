"""The commands of `walletq`, by what they are for. They import what they need when they run."""
