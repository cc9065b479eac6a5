"""The MCP door: what a planner may do, offered to any MCP host."""
