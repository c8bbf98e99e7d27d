"""`demo`: serve from the bundled Cognito emulator."""
