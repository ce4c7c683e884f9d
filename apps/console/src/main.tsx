import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { FleetTable } from './fleet-table.tsx';
import './console.css';

const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no element #root');
createRoot(root).render(
  <StrictMode>
    <FleetTable />
  </StrictMode>,
);
