// Drawing cells of numbers on a canvas.

// Sets a canvas up for a size in CSS pixels; gives the pen, and the theme's colours by name.
export function penOf(canvas, width, height) {
  const scale = Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colours = getComputedStyle(canvas);
  return { pen, colour: (name) => colours.getPropertyValue(name).trim() };
}

// A cell whose number isn't finite is crossed out: it has no size to be seen.
export function crossOut(pen, x, y, width, height, colour) {
  pen.globalAlpha = 0.35;
  pen.strokeStyle = colour;
  pen.beginPath();
  pen.moveTo(x + 1, y + height - 1);
  pen.lineTo(x + width - 1, y + 1);
  pen.stroke();
}
