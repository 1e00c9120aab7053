"""OpenAI's Responses API over the fleet: text, images, files, function tools, reasoning and stored responses."""
